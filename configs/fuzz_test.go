package configs

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
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
	for _, test := range wrongAtOnce {
		f.Add(test.text)
	}
	f.Add("x-a: &a [b]\nservices: {a: {image: *a, command: *a, <<: {tty: true}}}\nvolumes: {v: null}\n")
	f.Fuzz(func(t *testing.T, text string) {
		// An env_file may be any file of this machine.
		if strings.Contains(text, "env_file") {
			t.Skip("reads files")
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		defer time.AfterFunc(20*time.Second, func() { panic("no end of it") }).Stop()
		cfg, err := Parse("/etc/crawlbox/crawlbox.yaml", []byte(text))
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<30 {
			t.Fatalf("it took %d MiB", used>>20)
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
			if raw := testenv.Raw(line); len(raw) > 0 {
				t.Fatalf("words of programs %q: %s", raw, line)
			}
		}
	})
}
