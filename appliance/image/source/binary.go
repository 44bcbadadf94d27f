package source

import (
	"debug/elf"
	"fmt"
	"os"
	"runtime"
)

// hostCerts is what Debian, Alpine and others trust. An image from scratch has
// no certificates, and a crawler that knows none reaches no https site.
const hostCerts = "/etc/ssl/certs/ca-certificates.crt"

// makeTmp makes the directory for temporary files, which an image from scratch lacks.
const makeTmp = "WORKDIR /tmp"

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// openBinary makes a source of one static program.
func (s *Source) openBinary(o Options) error {
	if err := checkStatic(s.file); err != nil {
		return err
	}
	if o.Dockerfile != "" {
		return fmt.Errorf("%s is a program, which needs no Dockerfile; give the directory of %s to use that", s.file,
			o.Dockerfile)
	}
	s.Kind, s.Generated = Binary, true
	steps := []string{"FROM " + or(o.Base, "scratch")}
	if o.Base == "" {
		steps = append(steps, makeTmp)
	}
	if _, err := os.Stat(hostCerts); err == nil && o.Base == "" {
		steps = append(steps, "COPY ca-certificates.crt /etc/ssl/certs/")
	}
	s.Dockerfile = lines(append(steps, "COPY app /app", `ENTRYPOINT ["/app"]`)...)
	return nil
}

// checkStatic refuses what would not run alone in an image.
func checkStatic(path string) error {
	f, err := elf.Open(path)
	if os.IsPermission(err) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s is neither a directory nor a Linux program; give the directory that it is in", path)
	}
	defer f.Close()
	if want, known := machines[runtime.GOARCH]; known && f.Machine != want {
		return fmt.Errorf("%s is built for %s, and this machine is %s; build it for linux/%s", path, f.Machine, want,
			runtime.GOARCH)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN || f.Entry == 0 {
		return fmt.Errorf("%s is a library or object file, not a program; give the linked program", path)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs shared libraries; link it statically (Go: CGO_ENABLED=0, Rust: a musl "+
				"target, C: -static), or give a directory with a Dockerfile", path)
		}
	}
	return nil
}

// program lists the context of a Binary.
func (s *Source) program() ([]entry, error) {
	st, err := os.Stat(s.file)
	if err != nil {
		return nil, err
	}
	files := []entry{{
		name:  "app",
		path:  s.file,
		mode:  0o755,
		size:  st.Size(),
		mtime: st.ModTime(),
	}}
	if certs, err := os.Stat(hostCerts); err == nil {
		files = append(files, entry{name: "ca-certificates.crt", path: hostCerts, mode: 0o644, size: certs.Size()})
	}
	return files, nil
}
