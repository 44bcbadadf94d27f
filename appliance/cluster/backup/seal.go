package backup

import (
	"bufio"
	"bytes"
	"crypto/hpke"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// A sealed backup is a line that says what it is, a line of JSON (Header), and what was sealed in
// chunks, by HPKE (RFC 9180): each is bound to its place, the last one to being the last, and all
// to the two lines.
const (
	magic     = "crawlbox backup 1\n"
	family    = "crawlbox backup "
	maxHeader = 4 << 10
	chunk     = 64 << 10 // bytes, before it is sealed
	tagSize   = 16
)

// What opening a backup returns, wrapped with what to do.
var (
	ErrNotBackup = errors.New("not a backup of crawlbox")
	ErrNewer     = errors.New("the backup is of a newer crawlbox")
	ErrWrongKey  = errors.New("the recovery key is that of another cluster")
	ErrDamaged   = errors.New("the backup is cut or altered")
)

// kem is X25519 with ML-KEM beside it: who takes a sealed copy today does not open it by a machine
// of the future.
func kem() hpke.KEM { return hpke.MLKEM768X25519() }

// encapsulated is the size of what HPKE puts before the chunks.
const encapsulated = 1088 + 32

// Header is what everybody may know of a backup. It is bound to what is sealed.
type Header struct {
	Cluster string    `json:"cluster"` // SHA-256 of the CA's public key
	Epoch   int       `json:"epoch"`   // how often the cluster was restored
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`    // that made it
	Version string    `json:"version"` // of crawlbox
	Content string    `json:"content"` // SHA-256 of what it has, but for when it was made and by whom
	Key     string    `json:"key"`     // of which recovery key opens it
}

// check refuses what no backup has: a name goes into those of files.
func (h Header) check() error {
	_, err := hex.DecodeString(h.Cluster)
	switch {
	case err != nil || len(h.Cluster) != 64:
		return errors.New("it names no cluster")
	case h.Epoch < 0 || h.Epoch > maxEpoch:
		return errors.New("its epoch is out of range")
	case h.Time.Before(earliest) || h.Time.After(latest):
		return errors.New("its time is out of range")
	}
	return nil
}

const maxEpoch = 99999

var (
	earliest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Writer returns a writer whose content goes to w, sealed. It is whole only after Close, which does
// not close w.
func (s Seal) Writer(w io.Writer, h Header) (io.WriteCloser, error) {
	h.Key = s.name()
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("seal a backup: %w", err)
	}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("seal a backup: %w", err)
	}
	head := append([]byte(magic), append(line, '\n')...)
	enc, sender, err := hpke.NewSender(s.public, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), head)
	if err != nil {
		return nil, fmt.Errorf("seal a backup: %w", err)
	}
	if _, err := w.Write(append(head, enc...)); err != nil {
		return nil, err
	}
	return &sealer{w: w, sender: sender}, nil
}

// sealer seals in chunks. The last one is sealed by Close.
type sealer struct {
	w      io.Writer
	sender *hpke.Sender
	have   []byte
}

func (s *sealer) Write(p []byte) (n int, err error) {
	n = len(p)
	for len(p) > 0 {
		if len(s.have) == chunk {
			if err := s.flush(middle); err != nil {
				return 0, err
			}
		}
		some := min(len(p), chunk-len(s.have))
		s.have = append(s.have, p[:some]...)
		p = p[some:]
	}
	return n, nil
}

func (s *sealer) Close() error { return s.flush(last) }

// middle and last say which chunk is the last one.
var middle, last = []byte("more"), []byte("last")

func (s *sealer) flush(place []byte) error {
	sealed, err := s.sender.Seal(place, s.have)
	if err != nil {
		return fmt.Errorf("seal a backup: %w", err)
	}
	s.have = s.have[:0]
	_, err = s.w.Write(sealed)
	return err
}

// ReadHeader reads what everybody may know of a backup. Nothing of it is proven before the backup
// is opened. The error is ErrNotBackup or ErrNewer.
func ReadHeader(r io.Reader) (Header, error) {
	h, _, err := readHead(bufio.NewReaderSize(io.LimitReader(r, maxHeader), maxHeader))
	return h, err
}

// readHead returns the header, and the text that is bound to what is sealed.
func readHead(r *bufio.Reader) (h Header, head []byte, err error) {
	first, err := r.ReadSlice('\n')
	switch {
	case err == nil && string(first) == magic:
	case bytes.HasPrefix(first, []byte(family)):
		return h, nil, fmt.Errorf("%w; update crawlbox on this machine", ErrNewer)
	default:
		return h, nil, ErrNotBackup
	}
	head = bytes.Clone(first)
	line, err := r.ReadSlice('\n')
	if err == nil {
		err = json.Unmarshal(line, &h)
	}
	if err == nil {
		err = h.check()
	}
	if err != nil {
		return Header{}, nil, fmt.Errorf("%w: its second line can't be read", ErrDamaged)
	}
	return h, append(head, line...), nil
}

// Open opens a sealed backup. What the reader returns was sealed so, but only once it has come to
// its end is nothing missing; its error is ErrDamaged. That of Open may be ErrWrongKey and those of
// ReadHeader too.
func (k Key) Open(sealed io.Reader) (Header, io.Reader, error) {
	r := bufio.NewReaderSize(sealed, chunk+tagSize)
	h, head, err := readHead(r)
	if err != nil {
		return h, nil, err
	}
	private, err := k.private()
	if err != nil {
		return h, nil, err
	}
	if (Seal{private.PublicKey()}).name() != h.Key {
		return h, nil, ErrWrongKey
	}
	enc := make([]byte, encapsulated)
	if _, err := io.ReadFull(r, enc); err != nil {
		return h, nil, damage(err)
	}
	recipient, err := hpke.NewRecipient(enc, private, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), head)
	if err != nil {
		return h, nil, ErrDamaged
	}
	return h, &opener{r: r, recipient: recipient}, nil
}

// damage is the error of a backup that ends too early, or that can't be read.
func damage(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: its end is missing", ErrDamaged)
	}
	return err
}

// opener opens chunk by chunk.
type opener struct {
	r         *bufio.Reader
	recipient *hpke.Recipient
	have      []byte
	err       error // after have
}

func (o *opener) Read(p []byte) (int, error) {
	for len(o.have) == 0 && o.err == nil {
		o.have, o.err = o.next()
	}
	n := copy(p, o.have)
	if o.have = o.have[n:]; n == 0 && len(p) > 0 {
		return 0, o.err
	}
	return n, nil
}

// next returns the next chunk, with io.EOF if it is the last one.
func (o *opener) next() ([]byte, error) {
	sealed := make([]byte, chunk+tagSize)
	n, err := io.ReadFull(o.r, sealed)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, damage(err)
	}
	place, end := middle, error(nil)
	if _, more := o.r.Peek(1); errors.Is(more, io.EOF) {
		place, end = last, io.EOF
	}
	text, err := o.recipient.Open(place, sealed[:n])
	if err != nil {
		return nil, fmt.Errorf("%w: its end is missing, or something in it is not what was sealed", ErrDamaged)
	}
	return text, end
}
