package main

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
)

// TestFailingFileSystem: whatever fails, at any step of a message, the client is
// told so and nothing is left of it.
func TestFailingFileSystem(t *testing.T) {
	const write = mailproto.CleanupWrite
	small := with(one, "Nx: y", "N", "Nbody", "X", "E")
	large := with(one, "N", strings.Split(strings.Repeat("N"+strings.Repeat("x", 999)+"\n", 200)+"X\nE", "\n"))
	for _, tt := range []struct {
		op      string // "op" or "op basename"
		err     error
		records []string
		flags   mailproto.CleanupFlags
		want    mailproto.CleanupStatus
	}{
		{"open", unix.ENOSPC, small, 0, write},
		{"open", unix.EDQUOT, small, 0, write},
		{"fstat", unix.EIO, small, 0, write},
		{"rename", unix.ENOSPC, small, 0, write},
		{"write", unix.ENOSPC, small, 0, write},
		{"write", unix.EDQUOT, large, 0, write},
		{"write", unix.EIO, large, 0, write},
		{"write", unix.EFBIG, large, 0, write | mailproto.CleanupSize},
		{"chmod", unix.EIO, small, 0, write},
		{"fsync", unix.EIO, small, 0, write},
		{"fsync", unix.ENOSPC, large, 0, write},
		{"fsync " + queue.Incoming, unix.EIO, small, 0, write},
		{"open " + queue.Incoming, unix.EMFILE, small, 0, write},
		{"close " + queue.Incoming, unix.EDQUOT, small, 0, write},
		{"fsync " + queue.Hold, unix.EIO, small, mailproto.CleanupHold, write},
	} {
		t.Run(tt.op+" "+tt.err.Error(), func(t *testing.T) {
			h := newHouse(t, t.TempDir(), nil)
			var failed atomic.Bool // directories are synced by another goroutine
			h.w.queue = queue.NewFaulty(h.dir, queue.Settings{}, func(op, path string) error {
				if tt.op == op || tt.op == op+" "+filepath.Base(path) {
					failed.Store(true)
					return tt.err
				}
				return nil
			})
			_, reply := h.session(stream(external|tt.flags, tt.records...))
			if !failed.Load() {
				t.Fatal("the step was not reached")
			}
			if reply == nil || reply.Status != tt.want {
				t.Errorf("reply %+v, want status %d", reply, tt.want)
			}
			if files := h.files(); len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
			if h.wakes != 0 {
				t.Error("qmgr was woken up")
			}
		})
	}
}

// TestCloseAfterSync: a message that is on disk is accepted, even when its file
// cannot be closed; it is not in the queue and refused at the same time.
func TestCloseAfterSync(t *testing.T) {
	h := newHouse(t, t.TempDir(), nil)
	h.w.queue = queue.NewFaulty(h.dir, queue.Settings{}, func(op, path string) error {
		if op == "close" && filepath.Base(path) != queue.Incoming {
			return unix.EIO
		}
		return nil
	})
	accept(t, h, external, with(one, "Nx: y", "N", "Nbody", "X", "E"))
	if h.wakes != 1 {
		t.Errorf("qmgr was woken up %d times", h.wakes)
	}
}
