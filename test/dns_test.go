package test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/harness"
)

// TestHostileDNS (§2.J): what a zone can say about its mail servers, and what
// becomes of the mail.
func TestHostileDNS(t *testing.T) {
	ip, err := harness.Loopback()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(harness.SMTPPort)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	sink := &strictSink{Listener: ln}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				sink.serve(c, nil)
			}()
		}
	}()
	mta := harness.Prepare(t, harness.Options{Name: "dns", Params: map[string]string{"hopcount_limit": "5"}})
	var zone strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&zone, format+"\n", args...) }
	add("mx.good.test. A %s", ip)
	add("dns.test. A %s\nown.test. A %s\nzeroaddr.test. A 0.0.0.0\nloopmx.test. CNAME loopmx2.test.\nloopmx2.test. CNAME loopmx.test.", mta.IP, mta.IP)
	for i := range 20 {
		add("chain%d.test. CNAME chain%d.test.", i, i+1)
	}
	add("chain20.test. MX 10 mx.good.test.")
	add("big.test. MX 1 mx.good.test.") // 100 records count
	for i := range 1000 {
		add("big.test. MX 10 nowhere%d.test.", i)
	}
	for domain, mx := range map[string]string{
		"plain": "10 mx.good.test.", "null": "0 .", "nullplus": "0 .\nnullplus.test. MX 10 mx.good.test.", "literal": "10 " + ip + ".",
		"myname": "10 dns.test.", "myaddress": "10 own.test.", "zero": "10 zeroaddr.test.", "mxloop": "10 loopmx.test.",
		"cut": "10 mx.good.test.", "badname": `10 a\@b.test.`, "blank": `10 a\032b.test.`, "nomx": "10 nosuch.test.",
		"nulname": `10 a\000b.test.`, "newline": `10 a\010b.test.`, "long": "10 " + strings.Repeat("x", 63) + ".test.",
	} {
		add("%s.test. MX %s", domain, mx)
	}
	add("nodata.test. TXT \"no mail\"")
	names := dnstest.New(t, dnstest.Config{Zone: zone.String(), Fail: []string{"sick.test", "sickmx.test/A"}, Truncate: []string{"cut.test", "big.test"}})
	mta.Options.DNS = names.Addr()
	if err := mta.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"plain": "2.0.0 sent", "null": "5.1.10 bounced", "nullplus": "2.0.0 sent", "literal": "2.0.0 sent",
		"nodata": "5.4.4 bounced",
		"nosuch": "5.4.4 bounced", "nomx": "5.4.4 bounced", "sick": "4.4.3 deferred", "cut": "2.0.0 sent", "big": "2.0.0 sent", "long": "5.4.4 bounced",
		// An answer that makes no sense is not sent anywhere; which of the two is the
		// resolver's business.
		"mxloop": "", "badname": "", "blank": "", "nulname": "", "newline": "", "loopmx": "", "chain0": "",
	}
	for domain := range want {
		if err := mta.Send(ctx, "", []string{"u@" + domain + ".test"}, "Subject: x\n\nx\n"); err != nil {
			t.Fatal(err)
		}
	}
	sent := 0
	for domain, want := range want {
		got, err := mta.Log.Wait(ctx, 0, `to=<u@`+domain+`\.test>.* dsn=(\S+), status=(\S+) `)
		switch {
		case err != nil:
			t.Error(err)
		case want != "" && got[1]+" "+got[2] != want, want == "" && domain != "chain0" && got[2] == "sent":
			t.Errorf("%s: %s %s, want %s", domain, got[1], got[2], want)
		case got[2] == "sent":
			sent++
		}
	}
	sink.wait(ctx, t, sent)
	// On another port than 25 this host may be another system: the number of hops
	// ends what is a loop all the same.
	for _, domain := range []string{"myname", "myaddress", "zero"} {
		if err := mta.Send(ctx, "", []string{"u@" + domain + ".test"}, "Subject: x\n\nx\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := mta.Log.Wait(ctx, 0, `to=<u@`+domain+`\.test>.* status=bounced \(.*too many hops`); err != nil {
			t.Error(err)
		}
	}
	wellFormed(t, mta, logLine)
}
