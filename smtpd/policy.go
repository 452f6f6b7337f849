package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/confline"
	"sealpost/lib/dsn"
	"sealpost/lib/policyclient"
	"sealpost/lib/tlsconn"
)

// policyParams are the settings of policy services, also of one alone:
// { inet:host:port, timeout=10s, { default_action = 451 4.3.5 later } }.
type policyParams struct {
	Timeout       time.Duration `conf:"smtpd_policy_service_timeout"`
	MaxIdle       time.Duration `conf:"smtpd_policy_service_max_idle"`
	MaxTTL        time.Duration `conf:"smtpd_policy_service_max_ttl"`
	RequestLimit  int           `conf:"smtpd_policy_service_request_limit"`
	TryLimit      int           `conf:"smtpd_policy_service_try_limit"`
	RetryDelay    time.Duration `conf:"smtpd_policy_service_retry_delay"`
	DefaultAction string        `conf:"smtpd_policy_service_default_action"`
	Context       string        `conf:"smtpd_policy_service_policy_context"`
	Level         string        `conf:"compatibility_level"`
	Version       string        `conf:"mail_version"`
}

// policyService is the argument of check_policy_service.
type policyService struct {
	policyParams
	client *policyclient.Service
	stress string
}

// newPolicyService reads an endpoint, and what comes after it: settings of its own.
func newPolicyService(c *config.Config, arg string) (*policyService, error) {
	words := confline.Split(arg, confline.Comma)
	if len(words) == 0 {
		return nil, fmt.Errorf("no endpoint in %q", arg)
	}
	if len(words) > 1 {
		var own []config.Override
		for _, word := range words[1:] {
			if text, ok := confline.Unbrace(word); ok {
				word = text
			}
			name, value, ok := confline.NameValue(word)
			param := "smtpd_policy_service_" + name
			if _, known := config.Lookup(param); !ok || !known {
				return nil, fmt.Errorf("bad setting %q; there are timeout, max_idle, max_ttl, request_limit, try_limit, retry_delay, default_action and policy_context", word)
			}
			own = append(own, config.Override{Name: param, Value: value})
		}
		c = c.Overlay(own...)
	}
	p := &policyService{}
	if err := c.Decode(&p.policyParams); err != nil {
		return nil, err
	}
	p.stress, _ = c.Expand("$stress")
	var err error
	p.client, err = policyclient.New(words[0], policyclient.Options{Timeout: p.Timeout, MaxIdle: p.MaxIdle, MaxTTL: p.MaxTTL,
		RequestLimit: p.RequestLimit, Tries: max(p.TryLimit, 1), RetryDelay: p.RetryDelay})
	return p, err
}

// checkPolicy is check_policy_service: the server's action is that of an access table.
func checkPolicy(ctx context.Context, a *access, r *restriction) result {
	action, err := r.policy.client.Ask(ctx, a.policyRequest(r.policy))
	if err != nil {
		a.s.log.Warnf("problem talking to server %s: %v", r.arg, err)
		action = r.policy.DefaultAction
	}
	a.s.log.Verbosef("%s: policy server %s: %s", a.s.client.text, r.arg, action)
	return a.act(ctx, r, subject{class: a.class, what: a.what}, action)
}

// policyRequest are the attributes in the order of protocols.md §5.3.
func (a *access) policyRequest(p *policyService) []policyclient.Attr {
	s := a.s
	var list []policyclient.Attr
	add := func(pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, policyclient.Attr{Name: pairs[i], Value: pairs[i+1]})
		}
	}
	var m policyMessage
	if s.txn != nil {
		m = s.policyMessage(a)
	}
	add("request", "smtpd_access_policy", "protocol_state", a.protocolState(), "protocol_name", s.protocol,
		"client_address", s.client.addr, "client_name", s.client.name, "client_port", s.client.port,
		"reverse_client_name", s.client.reverse, "server_address", s.client.serverAddr, "server_port", s.client.serverPort,
		"helo_name", s.heloName, "sender", m.sender, "recipient", a.rcpt, "recipient_count", itoa(int64(m.rcpts)),
		"queue_id", m.queueID, "instance", s.instance(), "size", itoa(m.size), "etrn_domain", a.site, "stress", p.stress,
		"sasl_method", s.login.method, "sasl_username", s.login.user, "sasl_sender", m.authSender)
	add(s.policyTLS()...)
	requireTLS := "no"
	if m.requireTLS {
		requireTLS = "yes"
	}
	add("policy_context", p.Context, "compatibility_level", p.Level, "mail_version", p.Version, "requiretls", requireTLS)
	return list
}

// protocolState is the command that the request is about.
func (a *access) protocolState() string {
	switch where := a.s.where; {
	case a.class == classEndOfData:
		return "END-OF-MESSAGE"
	case strings.HasPrefix(where, "BDAT"):
		return "DATA"
	default:
		return where
	}
}

// policyMessage is what a request says about the message.
type policyMessage struct {
	sender, queueID, authSender string
	rcpts                       int
	size                        int64
	requireTLS                  bool
}

func (s *session) policyMessage(a *access) policyMessage {
	t := s.txn
	m := policyMessage{sender: t.sender, queueID: t.queueID(), authSender: t.authSender, requireTLS: t.requireTLS, size: t.announced}
	if a.class == classData || a.class == classEndOfData {
		m.rcpts = t.rcpts
	}
	if t.size > 0 {
		m.size = t.size
	}
	return m
}

// instance is the same for all requests about one message, and for no other.
func (s *session) instance() string {
	t := s.began
	if s.txn != nil {
		t = s.txn.arrival
	}
	return fmt.Sprintf("%x.%x.%x", os.Getpid(), s.number, t.UnixNano())
}

// policyTLS are the attributes about TLS.
func (s *session) policyTLS() []string {
	var subject, issuer, whole, key, protocol, cipher, bits, sni string
	bits = "0"
	if c := s.secured; c != nil {
		ev := s.tlsEvent()
		protocol, cipher, bits, sni = ev.Protocol, ev.Cipher, itoa(int64(ev.Bits)), c.SNI
		if leaf := c.Facts.Leaf(); leaf != nil {
			whole, key = tlsconn.Fingerprints(leaf, s.p.starttls.Digest)
			if c.Facts.Peer.Trusted {
				subject = string(dsn.AppendXtext(nil, leaf.Subject.CommonName))
				issuer = string(dsn.AppendXtext(nil, tlsconn.IssuerName(leaf)))
			}
		}
	}
	return []string{"ccert_subject", subject, "ccert_issuer", issuer, "ccert_fingerprint", whole, "ccert_pubkey_fingerprint", key,
		"encryption_protocol", protocol, "encryption_cipher", cipher, "encryption_keysize", bits, "tls_sni", sni}
}
