package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for anything before it gives up. It is much
// longer than anything takes.
const Patience = 60 * time.Second

// Start makes and starts an instance for a test, in a directory of its own, and
// stops it at the end. When the test failed its log is shown.
func Start(t testing.TB, o Options) *Instance {
	t.Helper()
	i := Prepare(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	if err := i.Start(ctx); err != nil {
		t.Fatalf("start %s: %v", o.Name, err)
	}
	return i
}

// Prepare is Start without starting.
func Prepare(t testing.TB, o Options) *Instance {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("an instance without privileges is tested; run \"make test\", which steps down from root")
	}
	if o.Name == "" {
		o.Name = "mail"
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Bin == "" {
		bin, err := Programs()
		if err != nil {
			t.Fatal(err)
		}
		o.Bin = bin
	}
	i, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := i.Stop(ctx); err != nil {
			t.Errorf("stop %s: %v", o.Name, err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", o.Name, tail(i.Log.Text(), 200))
		}
	})
	return i
}

// tail is the last lines of a text.
func tail(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) > n {
		lines = append([]string{fmt.Sprintf("... %d lines before\n", len(lines)-n)}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "")
}

// Programs is the directory of the built programs: SEALPOST_BIN, or one that
// this test process builds once.
var Programs = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("SEALPOST_BIN"); bin != "" {
		return bin, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("make", "build")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build: %w\n%s", err, out)
	}
	return filepath.Join(root, "bin"), nil
})

// moduleRoot is the directory with go.mod above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = up
	}
}
