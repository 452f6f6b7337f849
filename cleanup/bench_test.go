package main

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/lib/service"
)

// BenchmarkSession is one message through a worker over a Unix socket, on the
// file system of the test directory (TMPDIR).
func BenchmarkSession(b *testing.B) {
	for name, size := range map[string]int{"5KB": 5 << 10, "5MB": 5 << 20} {
		b.Run(name, func(b *testing.B) {
			h := newHouse(b, b.TempDir(), nil)
			sock, err := os.MkdirTemp("", "c")
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(sock)
			ln, err := net.Listen("unix", filepath.Join(sock, "s"))
			if err != nil {
				b.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						h.w.serve(context.Background(), &service.Session{Conn: c, Log: h.w.log})
					}()
				}
			}()
			body := strings.Split(strings.TrimSuffix(strings.Repeat("N"+strings.Repeat("x", 70)+"\n", size/71), "\n"), "\n")
			msg := stream(external, with(one, "NReceived: from x", "NFrom: a@b.example", "NTo: c@d.example", "NMessage-Id: <x@y>", "NDate: d", "N", body, "X", "E")...)
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c, err := net.Dial("unix", ln.Addr().String())
					if err != nil {
						b.Error(err)
						return
					}
					d := attr.NewDecoder(bufio.NewReaderSize(c, 512), attr.Strict)
					g, err := mailproto.ReadGreeting(d, mailproto.ProtoCleanup)
					if err == nil {
						_, err = c.Write(msg)
					}
					r, err2 := mailproto.ReadCleanupReply(d)
					if err != nil || err2 != nil || r.Status != 0 {
						b.Errorf("%v, %v, %+v", err, err2, r)
						return
					}
					c.Close()
					os.Remove(filepath.Join(h.dir, "incoming", g.QueueID))
				}
			})
		})
	}
}
