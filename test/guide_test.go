package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/smtp"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sealpost/test/harness"
	"sealpost/test/selfsigned"
)

// examples are the code blocks of a guide that a comment before them names:
// <!-- filters_test: script/scan -->.
func examples(t *testing.T, guide string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", guide))
	if err != nil {
		t.Fatal(err)
	}
	blocks := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^<!-- \w+: (\S+) -->\n\n((?: +.*\n|\n)+)`).FindAllSubmatch(text, -1) {
		block := bytes.TrimRight(m[2], "\n")
		indent := block[:len(block)-len(bytes.TrimLeft(block, " "))]
		var out strings.Builder
		for line := range strings.Lines(string(block) + "\n") {
			out.WriteString(strings.TrimPrefix(line, string(indent)))
		}
		blocks[string(m[1])] = out.String()
	}
	return blocks
}

// filtering is an instance that is set up as the guide to filters says. The
// addresses, users and paths of the guide become those of the test.
type filtering struct {
	*harness.Instance
	t      *testing.T
	ctx    context.Context
	dir    string // for files of the guide
	guide  map[string]string
	places *strings.Replacer
}

// newFiltering prepares an instance that relays out.test to a sink. Pairs are
// further words of the guide and what stands for them here.
func newFiltering(t *testing.T, sink *strictSink, pairs ...string) *filtering {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	t.Cleanup(cancel)
	cert, err := selfsigned.New("mail.test")
	if err != nil {
		t.Fatal(err)
	}
	f := &filtering{t: t, ctx: ctx, dir: t.TempDir(), guide: examples(t, "filters.md")}
	chain := f.file("chain.pem", string(cert.Chain), 0o600)
	f.Instance = harness.Prepare(t, harness.Options{Domain: "mail.test", Users: []string{"bob", "alice"}, Params: map[string]string{
		"smtpd_tls_chain_files": chain, "smtpd_tls_security_level": "may", "relay_domains": "out.test",
		"transport_maps":     "inline:{{out.test=smtp:[127.0.0.1]:" + port(sink.Addr().String()) + "}}",
		"virtual_alias_maps": "inline:{{list@mail.test=bob@mail.test}}", "virtual_alias_domains": "",
	}})
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	f.places = strings.NewReplacer(append([]string{
		"user=filter", "user=" + me.Username, "user=vmail", "user=" + me.Username, "user=list", "user=" + me.Username,
		"/usr/local/libexec/scan", filepath.Join(f.dir, "scan"), "/var/spool/filter", f.dir,
		"/usr/sbin/sendmail", filepath.Join(f.Bin, "sendmail"), "/etc/sealpost", f.dir,
		"smtp  inet", f.SMTP() + "  inet", "127.0.0.1:10026", f.back(),
	}, pairs...)...)
	return f
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// back is where a filter sends mail that it has seen.
func (f *filtering) back() string { return f.IP + ":10026" }

// file writes a file of the test.
func (f *filtering) file(name, text string, mode os.FileMode) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// example is a block of the guide in the words of the test.
func (f *filtering) example(name string) string {
	f.t.Helper()
	text, ok := f.guide[name]
	if !ok {
		f.t.Fatalf("the guide has no example %q", name)
	}
	return f.places.Replace(text)
}

// use adds blocks of the guide to the configuration by their file's name, and
// starts or reloads the system.
func (f *filtering) use(names ...string) {
	f.t.Helper()
	for _, name := range names {
		text := f.example(name)
		switch filepath.Base(name) {
		case "main.cf":
			for line := range strings.Lines(text) {
				key, value, _ := strings.Cut(line, "=")
				f.set(strings.TrimSpace(key), strings.TrimSpace(value))
			}
		case "master.cf":
			f.Services = append(f.Services, services(text)...)
		case "scan":
			f.file("scan", text, 0o755)
		default:
			f.file(filepath.Base(name), text, 0o644)
		}
	}
	f.apply()
}

// set changes a parameter; what transport_maps of the guide say is added.
func (f *filtering) set(name, value string) {
	if name == "transport_maps" || name == "relay_domains" {
		value += ", " + f.Params[name]
	}
	f.Params[name] = value
}

// services cuts master.cf text into entries with their continuation lines.
func services(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		if line[0] == ' ' {
			list[len(list)-1] += "\n" + strings.TrimRight(line, "\n")
		} else {
			list = append(list, strings.TrimRight(line, "\n"))
		}
	}
	return list
}

func (f *filtering) apply() {
	f.t.Helper()
	if err := f.WriteConfig(); err != nil {
		f.t.Fatal(err)
	}
	start := f.Reloaded
	if f.MasterPID() == 0 {
		start = f.Start
	}
	if err := start(f.ctx); err != nil {
		f.t.Fatal(err)
	}
}

// send sends a message over TLS, with a request for REQUIRETLS or without.
func (f *filtering) send(requireTLS bool, from, to, message string) {
	f.t.Helper()
	if err := f.trySend(requireTLS, from, to, message); err != nil {
		f.t.Fatal(err)
	}
}

func (f *filtering) trySend(requireTLS bool, from, to, message string) error {
	c, err := f.Dial(f.ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		return err
	}
	option := ""
	if requireTLS {
		option = " REQUIRETLS"
	}
	for _, command := range []string{"MAIL FROM:<" + from + ">" + option, "RCPT TO:<" + to + ">"} {
		if err := command250(c, command); err != nil {
			return err
		}
	}
	if err := data(c, message); err != nil {
		return err
	}
	_ = c.Quit()
	return nil
}

func command250(c *smtp.Client, command string) error {
	id, err := c.Text.Cmd("%s", command)
	if err != nil {
		return err
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	if _, _, err := c.Text.ReadResponse(250); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// log waits for a line.
func (f *filtering) log(pattern string) {
	f.t.Helper()
	if _, err := f.Log.Wait(f.ctx, 0, pattern); err != nil {
		f.t.Fatal(err)
	}
}

// mail waits for messages of a user.
func (f *filtering) mail(user string, n int) []string {
	f.t.Helper()
	mail, err := f.WaitMail(f.ctx, user, n)
	if err != nil {
		f.t.Fatal(err)
	}
	return mail
}

// quiet waits until all mail is gone, and counts complaints in the log beside
// those that match.
func (f *filtering) quiet(but string) {
	f.t.Helper()
	if err := f.WaitEmpty(f.ctx); err != nil {
		f.t.Error(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^.*(?:warning|error|fatal|panic): .*$`).FindAllString(f.Log.Text(), -1) {
		if but == "" || !regexp.MustCompile(but).MatchString(line) {
			f.t.Errorf("complaint in the log: %s", line)
		}
	}
}

// arrived waits for the only message that the sink gets.
func (f *filtering) arrived(sink *strictSink) string {
	f.t.Helper()
	got := sink.wait(f.ctx, f.t, 1)
	if len(got) == 0 {
		f.t.FailNow()
	}
	return got[0]
}
