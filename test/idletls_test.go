package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sealpost/test/ca"
	"sealpost/test/harness"
)

const (
	idleTLSEnv   = "SEALPOST_IDLE_TLS_CLIENT"
	idleTLSLimit = 64 << 10 // bytes of smtpd's memory for each
)

// tlsSystem is a system whose smtpd speaks TLS with a certificate of its own CA.
func tlsSystem(t *testing.T, name string, params map[string]string) (mta *harness.Instance, chain string, authority *ca.Authority) {
	t.Helper()
	authority = ca.New(t, "Test CA")
	mta = harness.Prepare(t, harness.Options{Name: name, Domain: "b.test", Users: []string{"user"}, Params: params})
	chain = filepath.Join(mta.Dir, "chain.pem")
	ca.WriteChain(t, chain, authority.Issue(t, ca.Leaf{CN: "first", Names: []string{"mx.b.test"}}))
	for k, v := range map[string]string{"smtpd_tls_security_level": "may", "smtpd_tls_loglevel": "1",
		"smtpd_tls_chain_files": chain, "smtpd_client_connection_count_limit": "0"} {
		params[k] = v
	}
	return mta, chain, authority
}

// TestIdleTLSConnections: ten thousand clients that said EHLO under TLS and
// nothing more.
func TestIdleTLSConnections(t *testing.T) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Max < fdsNeeded {
		t.Skipf("SKIP: the limit of open files is %d, the test needs %d (ulimit -Hn)", lim.Max, fdsNeeded)
	}
	mta, _, _ := tlsSystem(t, "idletls", map[string]string{"smtpd_timeout": "600s"})
	mta.Services = append(mta.Services, mta.SMTP()+" inet n - n - 12000 smtpd")
	if err := mta.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for range 20 { // what the first sessions allocate is not what each one costs
		c, err := dialTLS(mta.SMTP(), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.command("QUIT\r\n")
		c.Close()
	}
	pids := mta.Workers()["smtpd"]
	if len(pids) != 1 {
		t.Fatalf("smtpd processes: %v", pids)
	}
	before := resident(t, pids[0])
	ready, stop := idleProcess(ctx, t, idleTLSEnv+"="+mta.SMTP())
	defer stop()
	if ready != "ready" {
		t.Fatalf("client process: %q", ready)
	}
	each := (resident(t, pids[0]) - before) / idleConnections
	t.Logf("%d idle TLS connections: %d bytes of smtpd each", idleConnections, each)
	if each > idleTLSLimit {
		t.Errorf("an idle TLS connection costs %d bytes, more than %d", each, idleTLSLimit)
	}
	start := time.Now()
	c, err := dialTLS(mta.SMTP(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("a new client waited %v", d)
	}
}

// idleProcess starts this test's program as a client and waits for its first line.
func idleProcess(ctx context.Context, t *testing.T, env string) (line string, stop func()) {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ = bufio.NewReader(stdout).ReadString('\n')
	return strings.TrimSpace(line), func() {
		stdin.Close()
		cmd.Wait() //nolint:errcheck // its end is no part of the test
	}
}

// idleTLSClient is the other process.
func idleTLSClient(addr string) int {
	var conns []*smtpConn
	for i := range idleConnections {
		c, err := dialTLS(addr, nil)
		if err != nil {
			fmt.Fprintf(os.Stderr, "connection %d: %v\n", i+1, err)
			return 1
		}
		c.SetDeadline(time.Time{}) //nolint:errcheck // it was just used
		conns = append(conns, c)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // until its end
	for _, c := range conns {
		c.Close()
	}
	return 0
}

// dialTLS makes a session that has said EHLO under TLS.
func dialTLS(addr string, config *tls.Config) (*smtpConn, error) {
	c, err := dialSMTP(addr)
	if err != nil {
		return nil, err
	}
	if code, text := c.command("STARTTLS\r\n"); code != 220 {
		c.Close()
		return nil, fmt.Errorf("STARTTLS answered with %d %s", code, text)
	}
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true}
	}
	secured := tls.Client(c.Conn, config)
	if err := secured.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	s := &smtpConn{secured, bufio.NewReaderSize(secured, 512)}
	if code, text := s.command("EHLO client.a.test\r\n"); code != 250 {
		s.Close()
		return nil, fmt.Errorf("EHLO under TLS answered with %d %s", code, text)
	}
	return s, nil
}
