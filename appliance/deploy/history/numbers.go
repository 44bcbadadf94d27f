package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Document is where Numbers are kept, as the history is in Documents.
type Document interface {
	// Load returns the document. The error is fs.ErrNotExist where there is none.
	Load() ([]byte, error)
	Update(message string, fn func(data []byte) ([]byte, error)) error
}

// Numbers remembers the highest number that images of each name had, so that the next one is a new
// one also where that image was removed: of two images with one name nobody knows which runs. It is
// safe for concurrent use.
type Numbers struct{ doc Document }

// NewNumbers returns the numbers in a document.
func NewNumbers(doc Document) Numbers { return Numbers{doc} }

// Next returns the number of the next image with a name, of which those given exist.
func (n Numbers) Next(name string, existing []string) (string, error) {
	data, err := n.doc.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	last, err := decodeNumbers(data)
	return NextTag(append(slices.Clone(existing), last[name])), err
}

// Note remembers that an image with a name has had a tag, if that is a number. It is on disk when
// Note returns.
func (n Numbers) Note(name, tag string) error {
	if NextTag([]string{tag}) == NextTag(nil) {
		return nil
	}
	return n.doc.Update("number an image of "+name, func(data []byte) ([]byte, error) {
		last, err := decodeNumbers(data)
		if err != nil || NextTag([]string{last[name], tag}) == NextTag([]string{last[name]}) {
			return data, err
		}
		last[name] = tag
		return json.Marshal(last)
	})
}

func decodeNumbers(data []byte) (map[string]string, error) {
	last := map[string]string{}
	if data == nil {
		return last, nil
	}
	if err := json.Unmarshal(data, &last); err != nil {
		return last, fmt.Errorf("read the numbers of images: %w", err)
	}
	return last, nil
}
