package enroll

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func fail(l *authLimiter, addr string, times int) {
	for range times {
		l.failed(netip.MustParseAddr(addr))
	}
}

func TestLimiter_OnlyFailuresCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newAuthLimiter()
		addr := netip.MustParseAddr("192.0.2.1")
		for range 1000 {
			if !l.allow(addr) {
				t.Fatal("refused though nothing failed")
			}
		}
		fail(l, "192.0.2.1", limitBurst-1)
		if !l.allow(addr) {
			t.Error("refused before the last try that may fail")
		}
		fail(l, "192.0.2.1", 1)
		if l.allow(addr) {
			t.Error("allowed after all tries failed")
		}
		fail(l, "192.0.2.1", 1000) // those that were under way do not make it wait longer
		time.Sleep(limitPause - time.Millisecond)
		if l.allow(addr) {
			t.Error("allowed too early")
		}
		time.Sleep(time.Millisecond)
		if !l.allow(addr) {
			t.Error("refused after the pause")
		}
		fail(l, "192.0.2.1", 1)
		if l.allow(addr) {
			t.Error("a pause is worth more than one try")
		}
		time.Sleep(time.Hour)
		fail(l, "192.0.2.1", limitBurst)
		if l.allow(addr) {
			t.Error("an hour is worth more than the burst")
		}
	})
}

func TestLimiter_WhatCountsAsOneAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		failing, other string
		same           bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:2:3:4", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		l := newAuthLimiter()
		fail(l, tt.failing, limitBurst)
		if blocked := !l.allow(netip.MustParseAddr(tt.other)); blocked != tt.same {
			t.Errorf("%s failed: %s is refused: %t, want %t", tt.failing, tt.other, blocked, tt.same)
		}
	}
	l := newAuthLimiter()
	for range limitBurst {
		l.failed(netip.Addr{})
	}
	if l.allow(netip.Addr{}) {
		t.Error("what has no address is not limited")
	}
}

func TestLimiter_IsBounded(t *testing.T) {
	t.Parallel()
	l := newAuthLimiter()
	fail(l, "192.0.2.1", limitBurst)
	var strangers sync.WaitGroup
	for i := range 4 {
		strangers.Go(func() {
			for j := range limitAddrs / 4 {
				fail(l, fmt.Sprintf("10.%d.%d.%d", i, j/256, j%256), 1)
			}
		})
	}
	strangers.Wait()
	if n := l.failures.Len(); n != limitAddrs {
		t.Errorf("%d addresses are kept, want %d", n, limitAddrs)
	}
	if !l.allow(netip.MustParseAddr("192.0.2.1")) {
		t.Error("the oldest address was not forgotten")
	}
	fail(l, "192.0.2.1", limitBurst)
	if l.allow(netip.MustParseAddr("192.0.2.1")) {
		t.Error("an address that was forgotten is no longer limited")
	}
}
