package image

import (
	"archive/tar"
	"errors"
	"io"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// The Dockerfile of a build is told apart from its context: it may lie elsewhere, be listed by
// .dockerignore or be on no disk at all, and must not show among the files that a COPY finds.
// BuildKit takes both as they are. The classic builder wants it in the context, and takes it
// away again where .dockerignore lists it.

// inputs are the results that BuildKit's frontend reads in place of directories on the side of
// the client: a Dockerfile and the files of a context, which is a tar at an address.
func inputs(dockerfile, context string) (map[string]*pb.Definition, error) {
	const none = -1 // an empty file system
	file := func(a *pb.FileAction) *pb.Op {
		return &pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: []*pb.FileAction{a}}}}
	}
	text, err := chain("[internal] load build definition", file(&pb.FileAction{
		Input:          none,
		SecondaryInput: none,
		Action: &pb.FileAction_Mkfile{Mkfile: &pb.FileActionMkFile{
			Path:      "/Dockerfile",
			Mode:      0o644,
			Data:      []byte(dockerfile),
			Timestamp: -1,
		}},
	}))
	if err != nil {
		return nil, err
	}
	const name = "context"
	files, err := chain("[internal] load build context",
		&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{
			Identifier: context,
			Attrs:      map[string]string{pb.AttrHTTPFilename: name},
		}}},
		file(&pb.FileAction{
			Input:          none,
			SecondaryInput: 0,
			Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{
				Src:                              "/" + name,
				Dest:                             "/",
				Mode:                             -1, // as it is
				AttemptUnpackDockerCompatibility: true,
				Timestamp:                        -1,
			}},
		}))
	return map[string]*pb.Definition{"dockerfile": text, "context": files}, err
}

// chain defines what comes of operations of which each works on what the one before made.
func chain(name string, ops ...*pb.Op) (*pb.Definition, error) {
	def := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	var last digest.Digest
	for _, op := range append(ops, &pb.Op{}) { // the last stands for the result
		if last != "" {
			op.Inputs = []*pb.Input{{Digest: string(last)}}
		}
		raw, err := op.Marshal()
		if err != nil {
			return nil, err
		}
		last = digest.FromBytes(raw)
		def.Def = append(def.Def, raw)
		def.Metadata[string(last)] = &pb.OpMetadata{Description: map[string]string{"llb.customname": name}}
	}
	return def, nil
}

const (
	// apart is the name in a context of a Dockerfile that is none of its files.
	apart      = ".crawlbox.Dockerfile"
	ignoreName = ".dockerignore"
	// maxIgnore bounds what is read of a .dockerignore, in bytes.
	maxIgnore = 4 << 20
)

// withDockerfile returns a context with a Dockerfile added to it, under the name apart. It must
// be closed.
func withDockerfile(context io.Reader, dockerfile string) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(addDockerfile(w, context, dockerfile)) }()
	return r
}

func addDockerfile(w io.Writer, context io.Reader, dockerfile string) error {
	in, out := tar.NewReader(context), tar.NewWriter(w)
	ignore := &tar.Header{Name: ignoreName, Mode: 0o644}
	ignored := apart + "\n" + ignoreName + "\n"
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if h.Name == ignoreName && h.Typeflag == tar.TypeReg {
			own, err := bound.ReadAll(in, maxIgnore)
			if err != nil {
				return err
			}
			ignore, ignored = h, string(own)+"\n"+apart+"\n"
			continue
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
	ignore.Size = int64(len(ignored))
	if err := errors.Join(write(out, ignore, ignored), write(out, &tar.Header{
		Name: apart,
		Mode: 0o644,
		Size: int64(len(dockerfile)),
	}, dockerfile)); err != nil {
		return err
	}
	return out.Close()
}

func write(out *tar.Writer, h *tar.Header, text string) error {
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(out, strings.NewReader(text))
	return err
}
