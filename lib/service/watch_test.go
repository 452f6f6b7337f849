package service

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "table")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	fresh := func() {
		os.Remove(path)
		write(path, "x")
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		names  bool
		change func()
		want   bool
	}{
		{"nothing", true, func() {}, false},
		{"replaced", true, func() { write(path+".n", "x"); os.Chtimes(path+".n", old, old); os.Rename(path+".n", path) }, true},
		{"replaced, in a chroot", false, func() { write(path+".n", "x"); os.Rename(path+".n", path) }, true},
		{"written in place", true, func() { write(path, "y") }, true},
		{"removed", true, func() { os.Remove(path) }, false},
		{"permissions", true, func() { os.Chmod(path, 0o400) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fresh()
			w := newWatcher([]string{path}, time.Now(), tt.names)
			tt.change()
			if got, ok := w.changed(); ok != tt.want || ok && got != path {
				t.Errorf("changed: %q %v, want %v", got, ok, tt.want)
			}
		})
	}
	t.Run("appears", func(t *testing.T) {
		os.Remove(path)
		w := newWatcher([]string{path}, time.Now(), true)
		if _, ok := w.changed(); ok {
			t.Error("a missing file counts as changed")
		}
		write(path, "x")
		if _, ok := w.changed(); !ok {
			t.Error("a new file does not count")
		}
	})
	t.Run("changed while the worker started", func(t *testing.T) {
		fresh()
		began := time.Now().Add(-time.Minute)
		now := time.Now().Add(-time.Second)
		os.Chtimes(path, now, now)
		if _, ok := newWatcher([]string{path}, began, true).changed(); !ok {
			t.Error("not noticed")
		}
		future := time.Now().Add(time.Hour)
		os.Chtimes(path, future, future)
		if _, ok := newWatcher([]string{path}, began, true).changed(); ok {
			t.Error("a time in the future counts as changed")
		}
	})
}
