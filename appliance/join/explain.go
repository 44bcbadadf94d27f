package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
	"unicode"
)

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// explainDial says why there is no TCP connection.
func explainDial(err error, addr netip.AddrPort) error {
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens there (%w): start `crawlbox manager` on that machine, or check the address", syscall.ECONNREFUSED)
	case isTimeout(err):
		return fmt.Errorf("no answer within %s (%w): check the address, and that firewalls let port %d/tcp through", dialTimeout, context.DeadlineExceeded, addr.Port())
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Errorf("there is no route to it: check the address and this machine's network (%w)", unwrapSyscall(err))
	}
	return fmt.Errorf("cannot connect: %w", err)
}

// explainHandshake says why there is no TLS.
func explainHandshake(err error) error {
	var plain tls.RecordHeaderError
	var other x509.UnknownAuthorityError
	switch {
	case errors.Is(err, ErrImpostor):
		return err
	case errors.As(err, &plain):
		return fmt.Errorf("what listens there does not speak TLS, so it is not crawlbox: check address and port (%w)", err)
	case errors.As(err, &other):
		return fmt.Errorf("its certificate is not of this cluster: check the address (%w)", err)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case isTimeout(err):
		return fmt.Errorf("it accepts connections but does not answer within %s (%w): check that crawlbox runs there", dialTimeout, context.DeadlineExceeded)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("it hung up, so it is not crawlbox or is just stopping (%w): check address and port", err)
	}
	return fmt.Errorf("cannot agree on TLS: %w", err)
}

// explainCall says why there is no answer.
func explainCall(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isTimeout(err) {
		return fmt.Errorf("it took the request but did not answer within %s (%w): look at its log", exchangeTimeout, context.DeadlineExceeded)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("it hung up before it answered (%w): look at its log", err)
	}
	return fmt.Errorf("%w (%s)", errStranger, printable(err.Error()))
}

// printable is for words that came from the other end, which may be many and
// steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text[:min(len(text), maxWords)])
}

// maxWords bounds the words of the other end in a message, in bytes.
const maxWords = 300

func unwrapSyscall(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// maxSkew is how far clocks may differ without being worth a word.
const maxSkew = 2 * time.Minute

// explainClock names the skew as the reason for a certificate that is not good
// by this machine's clock; unless the clocks agree.
func explainClock(manager, here time.Time, cause error) error {
	skew := manager.Sub(here).Round(time.Second)
	if skew.Abs() <= maxSkew {
		return fmt.Errorf("the manager's certificate is out of date: restart crawlbox there (%w)", cause)
	}
	return fmt.Errorf("%w: this machine's clock is %s the manager's: set it, for instance with `timedatectl set-ntp true`, and run the same command again", ErrClock, skewText(skew))
}

func skewText(skew time.Duration) string {
	if skew > 0 {
		return fmt.Sprintf("%s behind", skew)
	}
	return fmt.Sprintf("%s ahead of", -skew)
}
