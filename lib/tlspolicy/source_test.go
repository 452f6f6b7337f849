package tlspolicy

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/dns/dnstest"
	"sealpost/lib/table"
)

func mainCF(t *testing.T, lines ...string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	text := "myhostname = mail.test\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultsOfBothPrograms(t *testing.T) {
	c := mainCF(t)
	for _, lmtp := range []bool{false, true} {
		s, err := Open(c, lmtp, table.Env{}, dnstest.Map{})
		if err != nil {
			t.Fatal(err)
		}
		want, secure := "may", []string{"nexthop", "dot-nexthop"}
		if lmtp {
			want, secure = "none", []string{"nexthop"}
		}
		p, err := s.Lookup(context.Background(), mxSite())
		if got := outcome(p, err); got != want || strings.Join(s.set.SecureMatch, " ") != strings.Join(secure, " ") || s.set.Digest != "sha256" {
			t.Errorf("lmtp %v: %s, %+v", lmtp, got, s.set)
		}
		if err := s.Close(); err != nil || len(s.Files()) != 0 {
			t.Errorf("%v, %q", err, s.Files())
		}
	}
}

func TestParametersReachThePolicy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy")
	if err := os.WriteFile(path, []byte("example.org secure ciphers=high\n\tmatch=mail.example.org:nexthop\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := mainCF(t, "smtp_tls_policy_maps = texthash:"+path, "smtp_tls_mandatory_protocols = >=TLSv1.2", "smtp_tls_trust_anchor_file = /etc/ta.pem")
	s, err := Open(c, false, table.Env{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Lookup(context.Background(), mxSite())
	if err != nil || p.Level != Secure || texts(p) != "mail.example.org/explicit example.org/nexthop" || p.Ciphers != "high" ||
		p.Protocols != ">=TLSv1.2" || p.TrustAnchors[0] != "/etc/ta.pem" {
		t.Errorf("%+v, %v", p, err)
	}
	if files := s.Files(); len(files) != 1 || files[0] != path {
		t.Errorf("%q", files)
	}
}

func TestParametersThatNobodyCanBeServedWith(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"smtp_tls_security_level = strict", "smtp_tls_security_level"},
		{"smtp_tls_security_level = halfdane", "smtp_tls_security_level"},
		{"dnssec_probe = what:ever", "dnssec_probe"},
		{"tls_dane_digests = sha256=7", "tls_dane_digests"},
	} {
		if _, err := Load(mainCF(t, tt.line), false); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.line, err)
		}
	}
}

// What a Source reads is what postconf(5) and "sealpost check" call supported, but for
// what crypto/tls cannot do (decision 50).
func TestParametersAreSupported(t *testing.T) {
	text, err := os.ReadFile("source.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile(`(?:str|yes)\("(tls_\w+)"\)`).FindAllStringSubmatch(string(text), -1) {
		for _, name := range []string{"smtp_" + m[1], "lmtp_" + m[1]} {
			p, known := config.Lookup(name)
			if supported := p != nil && p.Status == config.Implemented; !known || supported == strings.HasSuffix(name, "enable_rpk") {
				t.Errorf("%s: known %t, supported %t", name, known, supported)
			}
			n++
		}
	}
	if n < 30 {
		t.Errorf("%d parameters found", n)
	}
}
