package queueproc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// connector is the process's side of dials.
type connector struct {
	conn   *net.UnixConn
	places chan struct{}

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan<- connected
	gone    error // the manager answers no more
}

type connected struct {
	conns conns
	err   error
}

// conns is one connection to an engine elsewhere, or both ends of one within the process.
type conns []net.Conn

// Close implements io.Closer.
func (c conns) Close() error {
	for _, conn := range c {
		conn.Close()
	}
	return nil
}

func newConnector(socket *os.File) (*connector, error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		return nil, fmt.Errorf("open the socket for connections: %w", err)
	}
	c := &connector{
		conn:    conn.(*net.UnixConn),
		places:  make(chan struct{}, maxDials),
		waiting: map[uint64]chan<- connected{},
	}
	go c.read()
	return c, nil
}

// dial returns what connects to the engine: with TLS where a host is named that the certificate has to be for, and
// with certificates of our own where it wants one.
func (c *connector) dial(
	host string, roots *x509.CertPool, own []tls.Certificate,
) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		got, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		if len(got) != 1 {
			got.Close()
			return nil, errors.New("the manager's answer has no connection")
		}
		conn := got[0]
		if host == "" {
			return conn, nil
		}
		secured := tls.Client(conn, &tls.Config{
			ServerName: host, RootCAs: roots, Certificates: own, MinVersion: tls.VersionTLS12,
		})
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
				err = fmt.Errorf("%w; add its CA to those that this machine trusts and start crawlbox again", err)
			}
			return nil, err
		}
		return secured, nil
	}
}

// connect has the manager make a connection.
func (c *connector) connect(ctx context.Context) (conns, error) {
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.places }()
	answer := make(chan connected, 1)
	id, err := c.ask(answer)
	if err != nil {
		return nil, err
	}
	select {
	case a := <-answer:
		return a.conns, a.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
	select {
	case a := <-answer: // at the last moment
		return a.conns, a.err
	default:
		return nil, ctx.Err()
	}
}

func (c *connector) ask(answer chan<- connected) (id uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil {
		return 0, c.gone
	}
	c.last++
	c.waiting[c.last] = answer
	_, err = c.conn.Write(binary.BigEndian.AppendUint64(nil, c.last))
	return c.last, err
}

// read passes the manager's answers on until it is gone.
func (c *connector) read() {
	defer c.conn.Close()
	text, rights := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(2*4))
	for {
		n, r, _, _, err := c.conn.ReadMsgUnix(text, rights)
		if err != nil || n < idSize {
			c.end(errors.New("the manager makes no more connections"))
			return
		}
		var a connected
		if r > 0 {
			a.conns, a.err = connsOf(rights[:r])
		} else {
			a.err = errors.New(string(text[idSize:n]))
		}
		c.deliver(binary.BigEndian.Uint64(text), a)
	}
}

func (c *connector) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = why
	for id, answer := range c.waiting {
		answer <- connected{err: why}
		delete(c.waiting, id)
	}
}

func (c *connector) deliver(id uint64, a connected) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer := c.waiting[id]; answer != nil {
		delete(c.waiting, id)
		answer <- a
	} else {
		a.conns.Close() // nobody waits any longer
	}
}

// connsOf returns the connections that came with a message.
func connsOf(rights []byte) (list conns, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("the manager's answer has no connection"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, errors.Join(errors.New("the manager's answer has no connection"), err)
	}
	for _, fd := range fds {
		file := os.NewFile(uintptr(fd), "engine")
		conn, failed := net.FileConn(file)
		file.Close()
		if failed != nil {
			err = failed
			continue
		}
		list = append(list, conn)
	}
	if err != nil {
		list.Close()
		return nil, fmt.Errorf("take the manager's connection: %w", err)
	}
	return list, nil
}
