package valkey

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// TestKeys has clients of the engines reach those, and nobody else who has keys of the same authority or of another:
// not one that has those of clients, and passes for an engine.
func TestKeys(t *testing.T) {
	t.Parallel()
	own, err := newKeys()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newKeys()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		server Pair
		client Keys
		want   bool
	}{
		"an engine":         {own.Engine, own, true},
		"a replica":         {own.Engine, Keys{CA: own.CA, Client: own.Engine}, true},
		"a client's keys":   {own.Client, own, false},
		"another authority": {other.Engine, own, false},
		"another client":    {own.Engine, Keys{CA: own.CA, Client: other.Client}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := c.client.config()
			if err != nil {
				t.Fatal(err)
			}
			if err := shake(t, own, c.server, config); (err == nil) != c.want {
				t.Errorf("the connection is made: %v", err)
			}
		})
	}
	if _, err := (Keys{}).config(); err == nil {
		t.Error("without keys there is a way to an engine")
	}
}

// shake makes a connection to a server that has a pair, and wants clients of an authority.
func shake(t *testing.T, authority Keys, has Pair, client *tls.Config) error {
	pair, err := tls.X509KeyPair([]byte(has.Certificate), []byte(has.Key))
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := authority.config()
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	deadline := time.Now().Add(10 * time.Second)
	_, _ = near.SetDeadline(deadline), far.SetDeadline(deadline)
	served := make(chan error, 1)
	go func() {
		s := tls.Server(far, &tls.Config{
			Certificates: []tls.Certificate{pair},
			ClientCAs:    trusted.RootCAs,
			ClientAuth:   tls.RequireAndVerifyClientCert,
		})
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		far.Close()
		served <- err
	}()
	c := tls.Client(near, client)
	_, err = c.Read(make([]byte, 1))
	near.Close()
	if refused := <-served; err == nil {
		err = refused
	}
	return err
}

// TestJudge says of programs whether they can keep the queue.
func TestJudge(t *testing.T) {
	t.Parallel()
	const noCertificate = "# Failed to configure TLS. Check logs for more info.\n"
	for said, want := range map[string]string{
		"# Redis version=7.0.15, bits=64\n" + noCertificate:                  "",
		"* Valkey version=8.1.0, bits=64\n" + noCertificate:                  "",
		"# Valkey version=10.0, bits=64\n" + noCertificate:                   "",
		"# Redis version=6.2.14, bits=64\n" + noCertificate:                  "its version 6.2.14 is older than 7.0",
		"* Valkey version=8.0.1, bits=64\n# Failed finding TLS support.\n":   errNoTLS.Error(),
		"Bad directive or wrong number of arguments\n>>> 'tls-port \"1\"'\n": errNoTLS.Error(),
		"hello": errNoServer.Error(),
		"":      errNoServer.Error(),
	} {
		got := ""
		if err := Judge(said); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("of %q: %q, want %q", said, got, want)
		}
	}
}

// TestTrial has the program that tests have for Valkey pass it.
func TestTrial(t *testing.T) {
	t.Parallel()
	said := tried(t, Trial()[1:]...)
	if err := Judge(said); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}
