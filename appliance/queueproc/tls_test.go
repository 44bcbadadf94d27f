package queueproc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// selfSigned returns a certificate with a serial number.
func selfSigned(serial int64) (KeyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeyPair{}, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return KeyPair{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	return KeyPair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, err
}

// TestSupervisor_TLS wants the certificate of the manager, the next one without a
// restart, and the connections that stand to go on.
func TestSupervisor_TLS(t *testing.T) {
	t.Parallel()
	opts := options(t, directory(t))
	var issued atomic.Int64
	opts.TLS = func() (KeyPair, error) { return selfSigned(issued.Add(1)) }
	b := start(t, opts)
	was := b.await("serve", serving)
	shown := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", b.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := shown(); n != 1 {
		t.Errorf("certificate %d is shown", n)
	}
	c := redis.NewClient(&redis.Options{
		Addr:            b.addr,
		Password:        password,
		DisableIdentity: true,
		PoolSize:        1,
		TLSConfig:       &tls.Config{InsecureSkipVerify: true},
	})
	defer c.Close()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	b.Renew()
	for end := time.Now().Add(30 * time.Second); shown() != 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the certificate was not renewed")
		}
	}
	if v, err := c.Get(t.Context(), "k").Result(); err != nil || v != "v" || c.PoolStats().Misses != 1 {
		t.Errorf("a connection from before gets %q, %v, %+v", v, err, c.PoolStats())
	}
	if is := b.State(); is.PID != was.PID {
		t.Error("the process was started again for it")
	}
}
