package taskexec

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// protocol is what HTTP is upgraded to.
const protocol = "crawlbox-exec"

// Ask makes a request one that asks for an upgrade.
func Ask(r *http.Request) {
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", protocol)
}

// Answered returns the connection of a response to Ask.
func Answered(resp *http.Response) (io.ReadWriteCloser, error) {
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != protocol || !ok {
		resp.Body.Close()
		return nil, errors.New("it answers in another protocol; its crawlbox may be of another version")
	}
	return conn, nil
}

// Accept takes over the connection of a request whose body was read.
func Accept(w http.ResponseWriter, r *http.Request) (io.ReadWriteCloser, error) {
	if r.Header.Get("Upgrade") != protocol {
		return nil, errors.New("the request does not ask for an upgrade")
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+
		"\r\n\r\n")
	if err != nil {
		conn.Close()
		return nil, err
	}
	return accepted{conn, buffered}, nil
}

// accepted reads first what came with the request.
type accepted struct {
	net.Conn
	from io.Reader
}

func (a accepted) Read(p []byte) (int, error) { return a.from.Read(p) }
