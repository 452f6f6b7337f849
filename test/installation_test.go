package test

import (
	"context"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/conf"
	"sealpost/lib/dns/dnstest"
	"sealpost/test/harness"
)

// from is an SMTP session from another address of the loopback network.
func from(ctx context.Context, t *testing.T, mta *harness.Instance, source string) *smtp.Client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := d.DialContext(ctx, "tcp", mta.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		t.Fatal(err)
	}
	c, err := smtp.NewClient(conn, "test")
	if err == nil {
		err = c.Hello("client.test")
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reply is what a client at an address is told about a recipient.
func reply(ctx context.Context, t *testing.T, mta *harness.Instance, source, sender, recipient string) string {
	t.Helper()
	c := from(ctx, t, mta, source)
	defer c.Close()
	if err := c.Mail(sender); err != nil {
		t.Fatal(err)
	}
	id, err := c.Text.Cmd("RCPT TO:<%s>", recipient)
	if err != nil {
		t.Fatal(err)
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	code, text, err := c.Text.ReadResponse(0)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", code, text)
}

// inSite and stranger are where clients of the guide's relay come from.
const inSite, stranger = "127.0.0.2", "127.0.0.3"

// perimeter is the relay of the guide with a server inside and one in the internet. The
// addresses and paths of the guide become those of the test.
func perimeter(ctx context.Context, t *testing.T) (relay, inside, outside *harness.Instance) {
	t.Helper()
	guide := examples(t, "installation.md")
	inside = harness.Start(t, harness.Options{Name: "inside", Domain: "example.com", Users: []string{"alice", "postmaster"}})
	outside = harness.Start(t, harness.Options{Name: "outside", Domain: "example.org", Users: []string{"somebody"}})
	names := dnstest.New(t, dnstest.Config{Zone: "example.org. MX 10 mx.example.org.\nmx.example.org. A " + outside.IP + "\n"})
	dir := t.TempDir()
	places := strings.NewReplacer("/etc/sealpost", dir, "10.0.0.10", inside.IP, "10.0.0.0/24", inSite+"/32", "127.0.0.0/8", inside.IP+"/32")
	set := params(regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(places.Replace(guide["main.cf"]), ""))
	if set["inet_interfaces"] != "all" {
		t.Errorf("inet_interfaces = %s", set["inet_interfaces"])
	}
	delete(set, "inet_interfaces")
	// What the guide leaves as it is in the packaged main.cf, the harness has not.
	set["mydestination"] = "$myhostname, localhost.$mydomain, localhost"
	for _, name := range []string{"local_transport", "local_recipient_maps"} {
		set[name] = params(regexp.MustCompile(`(?m)^(#.*)?\n`).ReplaceAllString(conf.MainCF, ""))[name]
	}
	for _, name := range []string{"transport", "recipients", "virtual"} {
		if guide[name] == "" {
			t.Fatalf("the guide has no %s", name)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(places.Replace(guide[name])), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	relay = harness.Prepare(t, harness.Options{Name: "mx", DNS: names.Addr(), Params: set})
	if out, err := relay.Command(ctx, nil, "sealpost", "check"); err != nil || strings.Contains(out, "warning") {
		t.Errorf("check: %v %s", err, out)
	}
	if err := relay.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return relay, inside, outside
}

// TestPerimeterRelayOfTheGuide: the configuration of docs/installation.md makes the
// relay that the guide describes: its table says who is told what, and mail goes in, out
// and to who reads it for root.
func TestPerimeterRelayOfTheGuide(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	relay, inside, outside := perimeter(ctx, t)
	text, err := os.ReadFile("../docs/installation.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| (inside|outside) \\| (\\S+) \\| `(.*)` \\|$").FindAllStringSubmatch(string(text), -1)
	if len(rows) != 4 {
		t.Errorf("%d rows in the table, want 4", len(rows))
	}
	for _, row := range rows {
		source, sender := inSite, "alice@example.com"
		if row[1] == "outside" {
			source, sender = stranger, "somebody@example.org"
		}
		want := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(row[3]), `\.\.\.`, ".*") + "$")
		if got := reply(ctx, t, relay, source, sender, strings.Replace(row[2], "anybody", "somebody@example.org", 1)); !want.MatchString(got) {
			t.Errorf("from %s to %s: %s, want %s", row[1], row[2], got, row[3])
		}
	}
	// An account of this host has no mailbox, and nobody is told otherwise, but for
	// those that the table of aliases has.
	for to, want := range map[string]string{"daemon@mx.example.com": "550 5.1.1 ", "postmaster@mx.example.com": "250 "} {
		if got := reply(ctx, t, relay, stranger, "somebody@example.org", to); !strings.HasPrefix(got, want) {
			t.Errorf("about %s: %s", to, got)
		}
	}

	send(ctx, t, relay, stranger, "somebody@example.org", "alice@example.com", "Subject: in\n\nhello\n")
	send(ctx, t, relay, inSite, "alice@example.com", "somebody@example.org", "Subject: out\n\nhello\n")
	if _, err := relay.Command(ctx, strings.NewReader("Subject: cron\n\nhello\n"), "sendmail", "root"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		at            *harness.Instance
		user, subject string
	}{{inside, "alice", "in"}, {outside, "somebody", "out"}, {inside, "postmaster", "cron"}} {
		mail, err := want.at.WaitMail(ctx, want.user, 1)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(mail[0], "Subject: "+want.subject+"\n") {
			t.Errorf("%s got:\n%s", want.user, mail[0])
		}
	}
	if err := relay.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
	if n := relay.Log.Count(`(warning|error|fatal|panic): `); n > 0 {
		t.Errorf("%d complaints in the log", n)
	}
	strictRelay(ctx, t, relay, string(text))
}

// strictRelay: the last step of the guide's section, what is not for us is refused for
// good.
func strictRelay(ctx context.Context, t *testing.T, relay *harness.Instance, guide string) {
	t.Helper()
	strict := regexp.MustCompile(`smtpd_relay_restrictions = ([^']*)'`).FindStringSubmatch(guide)
	if strict == nil {
		t.Fatal("the guide does not say how to refuse for good")
	}
	relay.Params["smtpd_relay_restrictions"] = strict[1]
	if err := relay.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	if err := relay.Reloaded(ctx); err != nil {
		t.Fatal(err)
	}
	if got := reply(ctx, t, relay, stranger, "somebody@example.org", "somebody@example.org"); !strings.HasPrefix(got, "554 5.7.1 ") {
		t.Errorf("a stranger is told %s", got)
	}
	if got := reply(ctx, t, relay, inSite, "alice@example.com", "somebody@example.org"); !strings.HasPrefix(got, "250 ") {
		t.Errorf("a client inside is told %s", got)
	}
}

// send sends a message from an address.
func send(ctx context.Context, t *testing.T, mta *harness.Instance, source, sender, recipient, message string) {
	t.Helper()
	c := from(ctx, t, mta, source)
	defer c.Close()
	if err := c.Mail(sender); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt(recipient); err != nil {
		t.Fatal(err)
	}
	if err := data(c, message); err != nil {
		t.Fatal(err)
	}
}
