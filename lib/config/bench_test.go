package config

import (
	"os"
	"path/filepath"
	"testing"
)

// A daemon reads its configuration at each start.
func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("myhostname = a.example\nmynetworks = 127.0.0.0/8\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
