package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// swarm has one of each.
type swarm struct{}

func (swarm) Nodes(context.Context) ([]fleet.Node, error) {
	return []fleet.Node{{ID: "n1", Name: "h1", Addr: "10.0.0.1", Role: fleet.RoleManager}}, nil
}

func (swarm) Objects(context.Context) (fleet.Objects, error) {
	object := []fleet.Object{{ID: "i1", Name: "o", Spec: json.RawMessage(`{"Name":"o"}`)}}
	return fleet.Objects{Services: object, Networks: object, Configs: object, Secrets: []string{"s"}}, nil
}

// some returns what is in a cluster, with its key.
func some(t testing.TB) (Content, Key) {
	t.Helper()
	dir := t.TempDir()
	store := statetest.Open(t, dir)
	if _, err := pki.LoadOrCreateCA(store); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(state.NewDocument(store, state.Recovery)); err != nil {
		t.Fatal(err)
	}
	config, env := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "env")
	for _, path := range []string{config, env, filepath.Join(dir, QueuePassword)} {
		if err := os.WriteFile(path, []byte("text of "+filepath.Base(path)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := Source{swarm{}, dir, config, []string{env, filepath.Join(dir, "gone")}, "h1", "1.0"}
	c, key, err := source.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func sealed(t testing.TB, c Content, key Key) []byte {
	t.Helper()
	seal, err := key.Seal()
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.Sealed(seal)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestSource_Home: a backup has the files of the home of the queue, whichever manager makes it.
func TestSource_Home(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	store := statetest.Open(t, dir)
	if _, err := pki.LoadOrCreateCA(store); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(state.NewDocument(store, state.Recovery)); err != nil {
		t.Fatal(err)
	}
	write := func(dir, name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(elsewhere, QueuePassword, "hush")
	home := Source{swarm{}, elsewhere, write(elsewhere, "c.yaml", "queue: {}"), nil, "h1", "1.0"}
	other := Source{swarm{}, dir, write(dir, "c.yaml", "{}"), nil, "h2", "1.0"}
	read := func() (Content, Header) {
		c, _, err := other.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h, err := c.Header()
		if err != nil {
			t.Fatal(err)
		}
		return c, h
	}
	if c, _ := read(); len(c.Files) != 1 || string(c.Files[ConfigFile]) != "{}" {
		t.Errorf("before anything is known of the home it has %q", c.Files)
	}
	doc := state.NewDocument(store, state.HomeFiles)
	for range 2 {
		if err := home.share(doc); err != nil {
			t.Fatal(err)
		}
	}
	c, h := read()
	if string(c.Files[ConfigFile]) != "queue: {}" || string(c.Files[QueuePassword]) != "hush" ||
		c.Documents[state.HomeFiles] != nil {
		t.Errorf("it has %q", c.Files)
	}
	write(dir, "c.yaml", "prune: true")
	if _, again := read(); again.Content != h.Content {
		t.Error("a change of another manager's file is one of the backup's content")
	}
	write(elsewhere, "c.yaml", "queue: {port: 7000}")
	if err := home.share(doc); err != nil {
		t.Fatal(err)
	}
	if _, again := read(); again.Content == h.Content {
		t.Error("a change of the home's file is none of the backup's content")
	}
}

// TestBackup seals what is in a cluster, and finds it again.
func TestBackup(t *testing.T) {
	t.Parallel()
	c, key := some(t)
	data := sealed(t, c, key)
	for _, secret := range []string{key.Reveal(), "PRIVATE KEY", "text of", string(c.Documents[state.CA][40:80])} {
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%q can be read without the key", secret)
		}
	}
	got, err := Read(bytes.NewReader(data), key, nil)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%v: got %+v, want %+v", err, got, c)
	}
	want := "2 documents, 1 service, 1 network, 1 config and 1 node of cluster "
	if !strings.HasPrefix(got.String(), want) {
		t.Errorf("it is called %q", got)
	}
	if paths := got.Paths(); len(paths) != 1 || string(got.Files[paths[0]]) != "text of env" {
		t.Errorf("env files: %v", paths)
	}
	later := c
	later.Time, later.Node = c.Time.Add(time.Hour), "h2"
	was, _ := c.Header()
	if is, _ := later.Header(); is.Content != was.Content {
		t.Error("nothing has changed, and the content is another one")
	}
	later.Nodes = nil
	if is, _ := later.Header(); is.Content == was.Content {
		t.Error("something has changed, and the content is the same")
	}
}

// TestBackup_Beside keeps files beside the content, of more than one chunk.
func TestBackup_Beside(t *testing.T) {
	t.Parallel()
	c, key := some(t)
	seal, _ := key.Seal()
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk} {
		text := bytes.Repeat([]byte("x"), size)
		var out bytes.Buffer
		err := c.Write(&out, seal, func(w *tar.Writer) error {
			if err := w.WriteHeader(&tar.Header{Name: "a", Size: int64(size)}); err != nil {
				return err
			}
			_, err := w.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		if _, err := Read(&out, key, func(h *tar.Header, r io.Reader) (err error) {
			got, err = io.ReadAll(r)
			return err
		}); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes: %v, got %d", size, err, len(got))
		}
	}
}

// TestBackup_Chunks seals texts that end where a chunk does, and around it.
func TestBackup_Chunks(t *testing.T) {
	t.Parallel()
	key := NewKey()
	seal, _ := key.Seal()
	h := Header{Cluster: strings.Repeat("0", 64), Time: earliest}
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk} {
		var out bytes.Buffer
		w, err := seal.Writer(&out, h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		whole := out.Bytes()
		_, r, err := key.Open(bytes.NewReader(whole))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(r); err != nil || len(text) != size {
			t.Errorf("%d bytes: got %d, %v", size, len(text), err)
		}
		head := len(whole) - (size + (max(size, 1)+chunk-1)/chunk*tagSize)
		for _, cut := range []int{head, head + tagSize, head + chunk + tagSize, len(whole) - 1} {
			if cut >= len(whole) {
				continue
			}
			_, r, err := key.Open(bytes.NewReader(whole[:cut]))
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%d bytes cut to %d of %d: %v", size, cut, len(whole), err)
			}
		}
	}
}

// TestBackup_Refused opens what is no whole backup of the cluster, with its key.
func TestBackup_Refused(t *testing.T) {
	t.Parallel()
	c, key := some(t)
	data := sealed(t, c, key)
	for at := 0; at < len(data); at += 211 {
		flipped := bytes.Clone(data)
		flipped[at] ^= 1
		if _, err := Read(bytes.NewReader(flipped), key, nil); err == nil {
			t.Errorf("byte %d was altered, and it opens", at)
		}
		if _, err := Read(bytes.NewReader(data[:at]), key, nil); err == nil {
			t.Errorf("it was cut after %d bytes, and it opens", at)
		}
	}
	_, other := some(t)
	foreign, _ := some(t)
	stranger := foreign
	stranger.Cluster = c.Cluster // sealed by who knows the public half of the key
	twice := c
	twice.Format = format + 1
	for name, tc := range map[string]struct {
		data []byte
		key  Key
		want error
	}{
		"the key of another cluster": {data, other, ErrWrongKey},
		"another file":               {[]byte("#!/bin/sh\n"), key, ErrNotBackup},
		"nothing":                    {nil, key, ErrNotBackup},
		"a later format":             {[]byte("crawlbox backup 2\n{}\n"), key, ErrNewer},
		"a later content":            {sealed(t, twice, key), key, ErrNewer},
		"something after it":         {append(bytes.Clone(data), 'x'), key, ErrDamaged},
		"cut":                        {data[:len(data)-1], key, ErrDamaged},
		"of another CA":              {sealed(t, stranger, key), key, ErrDamaged},
		"a long header":              {[]byte(magic + strings.Repeat("x", 1<<20)), key, ErrDamaged},
	} {
		if _, err := Read(bytes.NewReader(tc.data), tc.key, nil); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	large := c
	large.Files = map[string][]byte{"f": make([]byte, MaxSealed)}
	seal, _ := key.Seal()
	if _, err := large.Sealed(seal); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("of too much: %v", err)
	}
	var out bytes.Buffer
	if err := large.Write(&out, seal, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&out, key, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("too much was sealed: %v", err)
	}
}

// FuzzOpen opens anything.
func FuzzOpen(f *testing.F) {
	c, key := some(f)
	data := sealed(f, c, key)
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte(magic + "{}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Read(bytes.NewReader(in), key, nil)
		if err == nil && !bytes.Equal(in, data) && !reflect.DeepEqual(got, c) {
			t.Errorf("it opens as %s", got)
		}
		_, _ = ReadHeader(bytes.NewReader(in))
	})
}

// TestShelf keeps the newest, and refuses what is older than a restore.
func TestShelf(t *testing.T) {
	t.Parallel()
	c, key := some(t)
	s := NewShelf(t.TempDir())
	if list, err := s.List(); err != nil || list != nil {
		t.Errorf("of none: %v, %v", list, err)
	}
	begin := c.Time
	for i := range 5 {
		c.Time = begin.Add(time.Duration(i) * time.Minute)
		if err := s.Put(c.Cluster, sealed(t, c, key)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != Kept {
		t.Fatalf("%v; kept are %v", err, list)
	}
	for i, is := range list {
		if want := begin.Add(time.Duration(4-i) * time.Minute).Truncate(time.Second); !is.Time.Equal(want) {
			t.Errorf("copy %d is of %s, want %s", i, is.Time, want)
		}
		info, err := os.Stat(is.File)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != is.Size {
			t.Errorf("%v: %v, %+v", err, info, is)
		}
		if data, err := is.Read(); err != nil || int64(len(data)) != is.Size {
			t.Errorf("read: %v", err)
		}
	}
	foreign, otherKey := some(t)
	if err := s.Put(c.Cluster, sealed(t, foreign, otherKey)); err == nil {
		t.Error("of another cluster, and it is kept")
	}
	if err := s.Put(c.Cluster, []byte("x")); !errors.Is(err, ErrNotBackup) {
		t.Errorf("of no backup: %v", err)
	}
	restored := c
	restored.Epoch++
	if err := s.Put(c.Cluster, sealed(t, restored, key)); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(c.Cluster, sealed(t, c, key)); !errors.Is(err, ErrOutdated) {
		t.Errorf("of an older epoch: %v", err)
	}
	if list, _ := s.List(); len(list) != Kept || list[0].Epoch != 1 || list[1].Epoch != 0 {
		t.Errorf("kept are %v", list)
	}
	// The directory of an operator has those of other clusters too.
	if err := s.Put(foreign.Cluster, sealed(t, foreign, otherKey)); err != nil {
		t.Fatal(err)
	}
	if list, _ := s.List(); len(list) != Kept+1 {
		t.Errorf("with one of another cluster: %v", list)
	}
	if _, err := hex.DecodeString(list[0].Cluster); err != nil {
		t.Error(err)
	}
}
