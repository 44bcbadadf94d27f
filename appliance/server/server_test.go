package server_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/server"
)

// TestServe_Panic: a fault in a handler ends its own connection, and the log tells of it; what is
// broken off on purpose is none.
func TestServe_Panic(t *testing.T) {
	t.Parallel()
	for value, told := range map[any]bool{"boom": true, any(http.ErrAbortHandler): false} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		site := server.Site{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) })}
		serve := server.Serve(site, slog.New(slog.NewTextHandler(&log, nil)), ln)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- serve.Run(ctx) }()
		for range 2 {
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(conn, "GET /here HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				t.Errorf("%v: the answer is %s", value, resp.Status)
				resp.Body.Close()
			}
			conn.Close()
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		said := log.String()
		if strings.Contains(said, `level=ERROR msg="a call panicked" call="GET /here" panic=boom`) != told {
			t.Errorf("%v: the log has %q", value, said)
		}
	}
}
