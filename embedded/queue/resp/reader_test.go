package resp

import (
	"strings"
	"testing"
)

// FuzzReader reads any bytes of a client that has not logged in.
func FuzzReader(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"))
	f.Add([]byte("PING\r\n*0\r\n*-1\r\n$-1\r\nSET a \"b\\x41\" 'c\\''\r\n"))
	f.Add([]byte("*1\r\n$99999999999\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(strings.NewReader(string(data)))
		for {
			args, err := r.Next()
			if err != nil {
				return
			}
			size := 0
			for _, arg := range args {
				size += len(arg)
			}
			if size > max(maxLine, strangerArgs*strangerArg) {
				t.Fatalf("request of %d bytes", size)
			}
		}
	})
}
