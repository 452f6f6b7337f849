package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Clients that say AUTH, with Dovecot as the one who knows the passwords.
var saslScenarios = []scenario{
	{"AUTH through Dovecot: swaks, every mechanism, only under TLS; Dovecot goes and comes back", "dovecot", authByDovecot},
}

// dovecotAuth is a private Dovecot that does nothing but authentication.
type dovecotAuth struct {
	conf, socket, log string
	cmd               *exec.Cmd // nil: not running
}

func newDovecotAuth(s *stage) (*dovecotAuth, error) {
	dir := filepath.Join(s.dir, "dovecot")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	d := &dovecotAuth{conf: filepath.Join(dir, "conf"), socket: filepath.Join(dir, "auth"), log: filepath.Join(dir, "log")}
	if err := os.WriteFile(filepath.Join(dir, "passwd"), []byte("alice:{PLAIN}wonder land\n"), 0o644); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`protocols =
base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = %[2]s
ssl = no
auth_mechanisms = plain login cram-md5
passdb {
  driver = passwd-file
  args = scheme=PLAIN %[1]s/passwd
}
userdb {
  driver = static
  args = uid=%[4]d gid=%[4]d home=%[1]s
}
service auth {
  unix_listener %[3]s {
    mode = 0666
  }
}
`, dir, d.log, d.socket, nobody)
	s.closers = append(s.closers, d.stop)
	return d, os.WriteFile(d.conf, []byte(text), 0o644)
}

func (d *dovecotAuth) start(ctx context.Context) error {
	d.cmd = exec.Command("dovecot", "-F", "-c", d.conf)
	if err := d.cmd.Start(); err != nil {
		return err
	}
	return until(ctx, func() error { return connectable("unix", d.socket) })
}

func (d *dovecotAuth) stop() error {
	if d.cmd == nil {
		return nil
	}
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait() // how it ends is its own matter
	d.cmd = nil
	return err
}

func authByDovecot(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	d, err := newDovecotAuth(s)
	if err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	m, err := s.ours("ours", map[string]string{
		"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": f.server, "smtpd_tls_auth_only": "yes",
		"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": d.socket,
		"mynetworks": "", "smtpd_sasl_authenticated_header": "yes",
	})
	if err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	// A recipient elsewhere: only who is authenticated may have it.
	swaks := func(more ...string) (string, error) {
		return run(ctx, nil, append([]string{"swaks", "--server", m.SMTP(), "--helo", "client.test", "--from", "alice@ours.test",
			"--to", "someone@elsewhere.test", "--quit-after", "RCPT"}, more...)...)
	}
	login := func(mechanism, password string) []string {
		return []string{"--tls", "--auth", mechanism, "--auth-user", "alice", "--auth-password", password}
	}
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"no AUTH", []string{"--tls"}, []string{"AUTH PLAIN LOGIN CRAM-MD5", "454 4.7.1 <someone@elsewhere.test>: Relay access denied"}},
		{"PLAIN", login("PLAIN", "wonder land"), []string{"235 2.7.0 Authentication successful", "250 2.1.5 Ok"}},
		{"LOGIN", login("LOGIN", "wonder land"), []string{"235 2.7.0 Authentication successful", "250 2.1.5 Ok"}},
		{"CRAM-MD5", login("CRAM-MD5", "wonder land"), []string{"235 2.7.0 Authentication successful", "250 2.1.5 Ok"}},
		{"wrong password", login("PLAIN", "wonder"), []string{"535 5.7.8 Error: authentication failed: "}},
		{"in the clear", []string{"--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "wonder land"}, []string{"Host did not advertise authentication"}},
	} {
		out, _ := swaks(c.args...) // the status says no more than the dialogue
		if err := contains(c.name, out, c.want...); err != nil {
			return fmt.Errorf("%w%s", err, logs(m))
		}
	}
	// A whole message, and what is seen of it.
	file, err := s.write("mail", letter("auth", "text\n"))
	if err != nil {
		return err
	}
	mark := m.Log.Mark()
	if _, err := run(ctx, nil, append([]string{"swaks", "--server", m.SMTP(), "--helo", "client.test", "--from", "alice@ours.test",
		"--to", "bob@ours.test", "--data", "@" + file}, login("PLAIN", "wonder land")...)...); err != nil {
		return err
	}
	if _, err := m.Log.Wait(ctx, mark, `client=.*, sasl_method=PLAIN, sasl_username=alice`); err != nil {
		return err
	}
	got, err := m.delivered(ctx, "bob")
	if err != nil {
		return err
	}
	if err := contains("the message", got, "\t(Authenticated sender: alice)\n", " with ESMTPSA id "); err != nil {
		return err
	}
	// Without Dovecot mail for us is taken all the same.
	if err := d.stop(); err != nil {
		return err
	}
	if err := until(ctx, func() error { // its processes end one after the other
		out, _ := swaks("--tls", "--to", "bob@ours.test")
		return errors.Join(contains("without Dovecot", out, "250 2.1.5 Ok"), lacks("without Dovecot", out, "250-AUTH"))
	}); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	out, _ := swaks(login("PLAIN", "wonder land")...)
	if err := contains("after Dovecot came back", out, "235 2.7.0 Authentication successful"); err != nil {
		return fmt.Errorf("%w%s", err, logs(m))
	}
	text, err := os.ReadFile(m.LogFile)
	if err != nil {
		return err
	}
	return lacks("the log", string(text), "wonder")
}

func lacks(what, text, not string) error {
	if strings.Contains(text, not) {
		return fmt.Errorf("%s has %q:\n%s", what, not, text)
	}
	return nil
}
