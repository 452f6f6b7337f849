package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestLocksExcludeOpenFiles(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, then Mode
		locked      bool
	}{
		{"two readers", Shared, Shared, false},
		{"writer after reader", Shared, Exclusive, true},
		{"reader after writer", Exclusive, Shared, true},
		{"two writers", Exclusive, Exclusive, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			a, b := open(t, path), open(t, path)
			if err := TryLock(a, c.first); err != nil {
				t.Fatal(err)
			}
			if err := TryLock(b, c.then); errors.Is(err, ErrLocked) != c.locked {
				t.Errorf("second lock: %v", err)
			}
			if err := Unlock(a); err != nil {
				t.Error(err)
			}
			if err := TryLock(b, c.then); err != nil {
				t.Errorf("after unlock: %v", err)
			}
		})
	}
}

func TestLockWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	a, b := open(t, path), open(t, path)
	if err := TryLock(a, Exclusive); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { got <- Lock(t.Context(), b, Exclusive) }()
	a.Close() // closing releases the lock
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestLockEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	a, b := open(t, path), open(t, path)
	if err := TryLock(a, Exclusive); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := Lock(ctx, b, Shared); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestClosedFile(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "file"))
	f.Close()
	if err := TryLock(f, Shared); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
}
