package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// tableEntries is the size of the tables.
const tableEntries = 1_000_000

// builder is a postmap with a type of table.
type builder struct{ name, program, kind, suffix string }

// lookupTables builds tables of the same entries with our postmap and Debian's, and asks
// each for all keys in another order.
func lookupTables(bin string, pairs int, scale float64) error {
	n := max(int(float64(tableEntries)*scale), 1000)
	dir, err := os.MkdirTemp("", "bench-tables-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeTable(dir, n); err != nil {
		return err
	}
	fmt.Printf("\nlookup tables of %d entries: build, size, and \"postmap -q -\" for all of them\n", n)
	fmt.Printf("%-16s %12s %12s %16s\n", "", "build s", "MB", "look-ups/s")
	for _, b := range []builder{{"Sealpost", filepath.Join(bin, "postmap"), "hash", ".bbolt"},
		{"Postfix hash", "/usr/sbin/postmap", "hash", ".db"}, {"Postfix lmdb", "/usr/sbin/postmap", "lmdb", ".lmdb"}} {
		var builds, rates []float64
		var size int64
		for range pairs {
			build, bytes, rate, err := b.measure(dir, n)
			if err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			builds, rates, size = append(builds, build), append(rates, rate), bytes
		}
		slices.Sort(builds)
		slices.Sort(rates)
		fmt.Printf("%-16s %12.1f %12.1f %16.0f\n", b.name, builds[len(builds)/2], float64(size)/1e6, rates[len(rates)/2])
	}
	return nil
}

// writeTable writes the source, the keys in another order, and a main.cf.
func writeTable(dir string, n int) error {
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	var source, keys bytes.Buffer
	for i := range n {
		fmt.Fprintf(&source, "user%d@example%d.com\tvalue %d\n", i, i%1000, i)
		fmt.Fprintf(&keys, "user%d@example%d.com\n", order[i], order[i]%1000)
	}
	for name, text := range map[string][]byte{"table": source.Bytes(), "keys": keys.Bytes(), "main.cf": []byte("compatibility_level = 3.6\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b builder) measure(dir string, n int) (build float64, size int64, rate float64, err error) {
	table := filepath.Join(dir, "table")
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(b.program, append(args, b.kind+":"+table)...)
		cmd.Env, cmd.Stderr = append(os.Environ(), "MAIL_CONFIG="+dir), os.Stderr
		return cmd
	}
	_ = os.Remove(table + b.suffix) // of the pair before
	began := time.Now()
	if err := command().Run(); err != nil {
		return 0, 0, 0, err
	}
	build = time.Since(began).Seconds()
	st, err := os.Stat(table + b.suffix)
	if err != nil {
		return 0, 0, 0, err
	}
	keys, err := os.Open(filepath.Join(dir, "keys"))
	if err != nil {
		return 0, 0, 0, err
	}
	defer keys.Close()
	query := command("-q", "-")
	query.Stdin = keys
	out, err := query.StdoutPipe()
	if err != nil {
		return 0, 0, 0, err
	}
	began = time.Now()
	if err := query.Start(); err != nil {
		return 0, 0, 0, err
	}
	found := 0
	for lines := bufio.NewScanner(out); lines.Scan(); found++ {
	}
	if err := query.Wait(); err != nil {
		return 0, 0, 0, err
	}
	if found != n {
		return 0, 0, 0, fmt.Errorf("found %d of %d keys", found, n)
	}
	return build, st.Size(), float64(n) / time.Since(began).Seconds(), nil
}
