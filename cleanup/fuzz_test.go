package main

import (
	"os"
	"path/filepath"
	"testing"

	"sealpost/lib/mailproto"
	"sealpost/test/capture"
)

// FuzzSession: whatever records a client sends, it gets an answer or the
// connection is closed, and a file is left only for status 0.
func FuzzSession(f *testing.F) {
	for _, c := range capture.Conns(f, "cleanup-from-pickup") {
		f.Add(c.Client)
	}
	f.Add(stream(external|mailproto.CleanupBounce, with(head, "Ra@b", "M", "N a", "La", "N:", "X", "Ra", "E")...))
	f.Add([]byte("flags\x000\x00\x00N\xff\xff\xff\xff\x7fE\x00"))
	h := newHouse(f, f.TempDir(), map[string]string{"message_size_limit": "20000", "header_size_limit": "500"})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(b[:len(b):len(b)], 'E', 0)
		id, reply := h.session(b)
		var found []string
		for _, dir := range []string{"incoming", "hold"} {
			list, err := filepath.Glob(filepath.Join(h.dir, dir, "*"))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, list...)
		}
		if len(found) > 1 || len(found) == 1 && (reply == nil || reply.Status != 0 || filepath.Base(found[0]) != id) {
			t.Fatalf("reply %+v for %s, files %v", reply, id, found)
		}
		for _, name := range found {
			os.Remove(name)
		}
	})
}
