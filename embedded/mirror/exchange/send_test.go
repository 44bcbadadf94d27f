package exchange

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// line takes so many bytes a second, and notes how much it is given at a time.
type line struct {
	bytes.Buffer
	rate  int
	given []int
}

func (l *line) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(l.rate))
	l.given = append(l.given, len(p))
	return l.Buffer.Write(p)
}

func TestSend(t *testing.T) {
	piece := bytes.Repeat([]byte("crawlbox"), 1<<17) // 1 MiB
	for _, tc := range []struct{ rate, frame int }{{10 << 20, frame}, {1 << 20, 32 << 10}, {50 << 10, minFrame}} {
		synctest.Test(t, func(t *testing.T) {
			l := &line{rate: tc.rate}
			if err := send(l, bytes.NewReader(piece), new([frame]byte)); err != nil || !bytes.Equal(l.Bytes(), piece) {
				t.Errorf("%d of %d bytes went out, %v", l.Len(), len(piece), err)
			}
			if n := l.given[len(l.given)-2]; n != tc.frame { // the last is what was left
				t.Errorf("at %d bytes a second it sends %d bytes at a time, want %d: %v", tc.rate, n, tc.frame, l.given)
			}
		})
	}
}
