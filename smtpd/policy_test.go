package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// policyServer answers requests by their protocol_state and remembers them.
type policyServer struct {
	addr    string
	answers map[string]string

	mu       sync.Mutex
	requests []string // lines joined by "|"
}

func newPolicyServer(t *testing.T, answers map[string]string) *policyServer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	p := &policyServer{addr: "inet:" + ln.Addr().String(), answers: answers}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.talk(c)
		}
	}()
	return p
}

func (p *policyServer) talk(c net.Conn) {
	defer c.Close()
	in := bufio.NewScanner(c)
	var lines []string
	for in.Scan() {
		if in.Text() != "" {
			lines = append(lines, in.Text())
			continue
		}
		request := strings.Join(lines, "|")
		lines = nil
		answer := "DUNNO"
		for state, action := range p.answers {
			if strings.Contains(request, "|protocol_state="+state+"|") {
				answer = action
			}
		}
		p.mu.Lock()
		p.requests = append(p.requests, request)
		p.mu.Unlock()
		fmt.Fprintf(c, "action=%s\n\n", answer)
	}
}

// asked is the last request with this state; the value of instance is left out.
func (p *policyServer) asked(state string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := ""
	for _, r := range p.requests {
		if strings.Contains(r, "|protocol_state="+state+"|") {
			found = r
		}
	}
	before, after, _ := strings.Cut(found, "|instance=")
	_, after, _ = strings.Cut(after, "|")
	return before + "|instance|" + after
}

// TestPolicyRequest has the attributes of protocols.md §5.3 in their order, and
// requiretls after them (decision 9).
func TestPolicyRequest(t *testing.T) {
	p := newPolicyServer(t, nil)
	r, _ := authRig(t, "smtpd_sender_restrictions=check_policy_service { "+p.addr+", policy_context=submission, { timeout = 5s } }",
		"smtpd_end_of_data_restrictions=check_policy_service "+p.addr, "compatibility_level=3.9", "mail_version=3.12-test")
	d := r.dial("")
	d.startTLSAuth(t)
	d.want("MAIL FROM:<alice@example.com> SIZE=1234 REQUIRETLS AUTH=real+40x", "250 2.1.0 Ok",
		"RCPT TO:<bob@virt.example>", "250 2.1.5 Ok", "RCPT TO:<alice@mail.example.com>", "250 2.1.5 Ok",
		"DATA", "354 End data with <CR><LF>.<CR><LF>", "Subject: x\r\n\r\nyy\r\n.", "250 2.0.0 Ok: queued as 4A5299A0001")
	_, port, _ := net.SplitHostPort(d.conn.LocalAddr().String())
	_, serverPort, _ := net.SplitHostPort(d.conn.RemoteAddr().String())
	state := d.conn.(*tls.Conn).ConnectionState()
	cipher := tls.CipherSuiteName(state.CipherSuite)
	bits := "256"
	if strings.Contains(cipher, "AES_128") {
		bits = "128"
	}
	want := func(state, rcpt, count, id, size, context string) string {
		return strings.Join([]string{"request=smtpd_access_policy", "protocol_state=" + state, "protocol_name=ESMTP", "client_address=127.0.0.1",
			"client_name=localhost", "client_port=" + port, "reverse_client_name=localhost", "server_address=127.0.0.1", "server_port=" + serverPort,
			"helo_name=c", "sender=alice@example.com", "recipient=" + rcpt, "recipient_count=" + count, "queue_id=" + id, "instance", "size=" + size,
			"etrn_domain=", "stress=", "sasl_method=PLAIN", "sasl_username=alice", "sasl_sender=real+40x", "ccert_subject=", "ccert_issuer=",
			"ccert_fingerprint=", "ccert_pubkey_fingerprint=", "encryption_protocol=TLSv1.3", "encryption_cipher=" + cipher, "encryption_keysize=" + bits,
			"tls_sni=", "policy_context=" + context, "compatibility_level=3.9", "mail_version=3.12-test", "requiretls=yes"}, "|")
	}
	for _, tt := range []struct{ state, want string }{
		{"RCPT", want("RCPT", "alice@mail.example.com", "0", "4A5299A0001", "1234", "submission")},
		{"END-OF-MESSAGE", want("END-OF-MESSAGE", "", "2", "4A5299A0001", "18", "")},
	} {
		if got := p.asked(tt.state); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.state, strings.ReplaceAll(got, "|", "\n     "), strings.ReplaceAll(tt.want, "|", "\n     "))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	instances := map[string]bool{}
	for _, request := range p.requests {
		_, after, _ := strings.Cut(request, "|instance=")
		instance, _, _ := strings.Cut(after, "|")
		instances[instance] = true
	}
	if len(instances) != 1 || instances[""] {
		t.Errorf("instances of one message: %v", instances)
	}
}

func TestPolicyActions(t *testing.T) {
	for _, tt := range []struct{ stage, state, action, want string }{
		{"smtpd_recipient_restrictions", "RCPT", "DUNNO", "250 2.1.5 Ok"},
		{"smtpd_recipient_restrictions", "RCPT", "REJECT go away", "554 5.7.1 <bob@virt.example>: Recipient address rejected: go away"},
		{"smtpd_recipient_restrictions", "RCPT", "451 4.7.1 later", "451 4.7.1 <bob@virt.example>: Recipient address rejected: later"},
		{"smtpd_recipient_restrictions", "RCPT", "DEFER_IF_PERMIT wait", "450 4.7.1 <bob@virt.example>: Recipient address rejected: wait"},
		{"smtpd_recipient_restrictions", "RCPT", "OK", "250 2.1.5 Ok"},
		{"smtpd_client_restrictions", "RCPT", "REJECT", "554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied"},
		{"smtpd_recipient_restrictions", "RCPT", "reject_non_fqdn_sender", "504 5.5.2 <a>: Sender address rejected: need fully-qualified address"},
	} {
		p := newPolicyServer(t, map[string]string{tt.state: tt.action})
		r := newRig(t, tt.stage+"=check_policy_service "+p.addr)
		d := r.dial("")
		d.reply()
		d.want("EHLO c", ehloOver("clear"), "MAIL FROM:<a>", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", tt.want)
	}
}

// TestPolicyServiceFails: the default action is taken, and a warning names the server.
func TestPolicyServiceFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "inet:" + ln.Addr().String()
	ln.Close()
	for _, tt := range []struct{ arg, want, log string }{
		{dead, "451 4.3.5 <bob@virt.example>: Recipient address rejected: Server configuration problem", "problem talking to server " + dead + ": "},
		{"{ " + dead + ", { default_action = DUNNO }, try_limit=1 }", "250 2.1.5 Ok", "problem talking to server "},
		{"nonsense", "451 4.3.5 Server configuration error", `check_policy_service: bad endpoint "nonsense"; specify inet:host:port or unix:path`},
		{"{ " + dead + ", nonsense=1 }", "451 4.3.5 Server configuration error", "there are timeout, max_idle,"},
		{"{ " + dead + ", timeout=soon }", "451 4.3.5 Server configuration error", "smtpd_policy_service_timeout"},
	} {
		r := newRig(t, "smtpd_recipient_restrictions=check_policy_service "+tt.arg, "smtpd_policy_service_retry_delay=1")
		d := r.dial("")
		d.reply()
		d.want("EHLO c", ehloOver("clear"), "MAIL FROM:<a@b.example>", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", tt.want)
		if !strings.Contains(r.log.String(), tt.log) {
			t.Errorf("%s: log %s, want %s", tt.arg, r.log, tt.log)
		}
	}
}
