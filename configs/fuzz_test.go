package configs

import (
	"strings"
	"testing"
	"time"
)

func FuzzParse(f *testing.F) {
	f.Add(Annotated)
	f.Add(uncommented())
	for _, test := range wrong {
		f.Add(test.text)
	}
	f.Add(service("image: i\nulimits: {nofile: {soft: 1.5, hard: 1}}\nvolumes: [{type: bind}]\nenvironment: [A, B=c]"))
	f.Add(service("image: i\ndeploy: {resources: {limits: {cpus: '1', memory: 1g}}}\nlogging: {options: {a: " +
		"1}}\nnetworks: {n: {}}"))
	f.Add("x-a: &a [b]\nservices: {a: {image: *a, command: *a, <<: {tty: true}}}\nvolumes: {v: null}\n")
	f.Fuzz(func(t *testing.T, text string) {
		// An env_file may be any file of this machine.
		if strings.Contains(text, "env_file") {
			t.Skip("reads files")
		}
		start := time.Now()
		cfg, err := Parse("/etc/crawlbox/crawlbox.yaml", []byte(text))
		if took := time.Since(start); took > 20*time.Second {
			t.Fatalf("took %s", took)
		}
		if err == nil {
			if _, err := Show(cfg); err != nil {
				t.Fatal(err)
			}
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "/etc/crawlbox/crawlbox.yaml:") && !strings.HasPrefix(line, "CRAWLBOX_") {
				t.Fatalf("an error without a place: %q", line)
			}
		}
	})
}
