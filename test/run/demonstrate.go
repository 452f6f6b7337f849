package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/harness"
	"sealpost/test/selfsigned"
)

// The message, as alice writes it.
const message = `From: Alice <alice@sender.test>
To: Bob <bob@%s>
Subject: for your eyes only

It travels only over authenticated TLS, or it comes back.
`

// demonstration is three mail systems and a name server between them: a sender,
// a receiver that knows REQUIRETLS, and one that does not. All have certificates
// with TLSA records, and the name server's answers count as signed.
type demonstration struct {
	sender, receiver, older *harness.Instance
	names                   *dnstest.Server
}

// demonstrate is "make run".
func demonstrate(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d, err := prepare()
	if err != nil {
		return err
	}
	defer d.names.Close()
	for _, i := range []*harness.Instance{d.receiver, d.older, d.sender} {
		if err := i.Start(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop(i)) }()
		fmt.Printf("The mail system %q listens on %s; its files are in %s\n", i.Name, i.SMTP(), i.Dir)
	}
	if err := d.delivered(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, d.logs())
	}
	if err := d.returned(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, d.logs())
	}
	fmt.Println("One message was delivered over authenticated TLS; the other came back, without its text.")
	return nil
}

// prepare writes the configurations and starts the name server.
func prepare() (*demonstration, error) {
	p, err := newPlace()
	if err != nil {
		return nil, err
	}
	d := &demonstration{}
	var zone strings.Builder
	receivers := []struct {
		system **harness.Instance
		name   string
		params map[string]string
	}{
		{&d.receiver, "receiver", nil},
		{&d.older, "older", map[string]string{"requiretls_enable": "no"}},
	}
	for _, r := range receivers {
		domain, mx := r.name+".test", "mx."+r.name+".test"
		cert, err := selfsigned.New(mx)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(p.run, r.name+".pem")
		if err := os.WriteFile(file, cert.Chain, 0o600); err != nil {
			return nil, err
		}
		params := map[string]string{"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": file, "smtpd_tls_loglevel": "1"}
		for name, value := range r.params {
			params[name] = value
		}
		i, err := p.instance(harness.Options{Name: r.name, Domain: domain, Users: []string{"bob"}, Params: params})
		if err != nil {
			return nil, err
		}
		*r.system = i
		fmt.Fprintf(&zone, "%s. MX 10 %s.\n%s. A %s\n_%d._tcp.%s. TLSA %s\n", domain, mx, mx, i.IP, harness.SMTPPort, mx, cert.TLSA())
	}
	if d.names, err = dnstest.Start(dnstest.Config{Zone: zone.String(), Authentic: []string{"*"}}); err != nil {
		return nil, err
	}
	fmt.Printf("A name server on %s says, and signs:\n\n%s\n", d.names.Addr(), zone.String())
	d.sender, err = p.instance(harness.Options{Name: "sender", Domain: "sender.test", Users: []string{"alice"}, DNS: d.names.Addr(),
		Params: map[string]string{"dns_servers_authentic": "yes", "smtp_dns_support_level": "dnssec",
			"smtp_tls_security_level": "dane", "smtp_requiretls_policy": "enforce", "smtp_tls_loglevel": "1"}})
	if err != nil {
		d.names.Close()
	}
	return d, err
}

// submit sends alice's message with REQUIRETLS.
func (d *demonstration) submit(ctx context.Context, domain string) error {
	text := fmt.Sprintf(message, domain)
	args := []string{"-O", "requiretls=yes", "-f", "alice@sender.test", "bob@" + domain}
	fmt.Printf("\n$ sendmail %s\n%s\n", strings.Join(args, " "), text)
	_, err := d.sender.Command(ctx, strings.NewReader(text), "sendmail", args...)
	return err
}

// show prints the sender's lines about a message to a domain, and its tls= field,
// which must be as expected.
func (d *demonstration) show(ctx context.Context, domain, field string) error {
	if _, err := d.sender.Log.Wait(ctx, 0, `smtp\[.*to=<bob@`+regexp.QuoteMeta(domain)+`>`); err != nil {
		return err
	}
	fmt.Printf("--- in the log of the sender's system (%s)\n", d.sender.LogFile)
	found := false
	for line := range strings.Lines(d.sender.Log.Text()) {
		if strings.Contains(line, "/smtp[") && strings.Contains(line, domain) {
			fmt.Print(line)
			found = found || strings.Contains(line, " tls="+field+",")
		}
	}
	if !found {
		return fmt.Errorf("there is no delivery with tls=%s to %s", field, domain)
	}
	return nil
}

// delivered shows a message that arrives.
func (d *demonstration) delivered(ctx context.Context) error {
	if err := d.submit(ctx, "receiver.test"); err != nil {
		return err
	}
	mail, err := d.receiver.WaitMail(ctx, "bob", 1)
	if err != nil {
		return err
	}
	if err := d.show(ctx, "receiver.test", "dane/requiretls"); err != nil {
		return err
	}
	if _, err := d.receiver.Log.Wait(ctx, 0, `, requiretls=yes$`); err != nil {
		return fmt.Errorf("the receiver did not see the request: %w", err)
	}
	return shown(d.receiver, "bob", mail)
}

// returned shows a message that comes back because the next system does not know
// REQUIRETLS.
func (d *demonstration) returned(ctx context.Context) error {
	if err := d.submit(ctx, "older.test"); err != nil {
		return err
	}
	mail, err := d.sender.WaitMail(ctx, "alice", 1)
	if err != nil {
		return err
	}
	if err := d.show(ctx, "older.test", "dane/!requiretls:none"); err != nil {
		return err
	}
	if strings.Contains(mail[0], "It travels only") {
		return errors.New("the notification has the text of the message")
	}
	return shown(d.sender, "alice", mail)
}

// shown prints the mail of a user.
func shown(i *harness.Instance, user string, mail []string) error {
	for n, path := range i.MailFiles(user) {
		if n < len(mail) {
			fmt.Printf("--- what %s has now (%s)\n%s\n", user, path, mail[n])
		}
	}
	return nil
}

func (d *demonstration) logs() string {
	var b strings.Builder
	for _, i := range []*harness.Instance{d.sender, d.receiver, d.older} {
		fmt.Fprintf(&b, "--- the log of %s (%s)\n%s\n", i.Name, i.LogFile, i.Log.Text())
	}
	return b.String()
}
