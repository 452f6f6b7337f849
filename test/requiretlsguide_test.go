package test

import (
	"context"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/reqtls"
	"sealpost/lib/table"
	"sealpost/test/ca"
	"sealpost/test/harness"
)

// params are the parameters of a block of main.cf.
func params(block string) map[string]string {
	set := map[string]string{}
	last := ""
	for line := range strings.Lines(block) {
		if line[0] == ' ' {
			set[last] += " " + strings.TrimSpace(line)
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		last = strings.TrimSpace(name)
		set[last] = strings.TrimSpace(value)
	}
	return set
}

// TestPoliciesOfTheGuide: the policies of docs/requiretls.md mean what it says.
func TestPoliciesOfTheGuide(t *testing.T) {
	guide := examples(t, "requiretls.md")
	const enforce, starttls, opportunistic = reqtls.Enforce, reqtls.StartTLS, reqtls.Opportunistic
	for name, want := range map[string]map[string]reqtls.Level{
		"receive/main.cf": {"example.org": opportunistic, "192.0.2.1": opportunistic},
		"inside/main.cf": {"scanner.example.net": opportunistic, "example.com": opportunistic, "mx.example.com": opportunistic, "localhost": opportunistic,
			"127.0.0.1": opportunistic, "2001:db8::1": opportunistic, "example.net": enforce},
		"outside/main.cf": {"example.com": opportunistic, "a.b.example.com": opportunistic, "192.0.2.1": opportunistic, "example.org": enforce},
		"relax/main.cf":   {"bank.example": enforce, "mail.bank.example": enforce, "example.org": starttls},
		"measure/main.cf": {"example.org": opportunistic},
	} {
		policy := reqtls.Open(table.Env{Warnf: t.Errorf}, "smtp_requiretls_policy", params(guide[name])["smtp_requiretls_policy"])
		defer policy.Close()
		for nexthop, level := range want {
			if got := policy.Level(t.Context(), nexthop); got != level {
				t.Errorf("%s: %s is %s, want %s", name, nexthop, got, level)
			}
		}
	}
	// The one that is said to be the default is.
	c, err := config.FromMap(map[string]string{"mydomain": "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(params(guide["outside/main.cf"])["smtp_requiretls_policy"]); got != c.Str("smtp_requiretls_policy") {
		t.Errorf("%s\nis not the default\n%s", got, c.Str("smtp_requiretls_policy"))
	}
	for name, block := range guide {
		if strings.HasSuffix(name, "/main.cf") {
			if _, err := config.FromMap(params(block)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestReceiveOnlyOfTheGuide: the system of the guide that only receives takes the
// requests of the guide's program and of a user for whom its administrator asks, and
// keeps them with the message.
func TestReceiveOnlyOfTheGuide(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	guide := examples(t, "requiretls.md")
	set := params(guide["receive/main.cf"])
	maps.Copy(set, params(guide["senders/main.cf"]))
	authority := ca.New(t, "Test CA")
	mta := harness.Prepare(t, harness.Options{Name: "mail", Domain: "example.org", Users: []string{"bob"}, Params: set})
	set["smtpd_tls_chain_files"] = ca.WriteChain(t, filepath.Join(t.TempDir(), "chain.pem"), authority.Issue(t, ca.Leaf{Names: []string{mta.IP}}))
	if err := mta.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}

	if err := mta.Send(ctx, "alice@example.com", []string{"bob@example.org"}, "Subject: by access table\n\nx\n"); err != nil {
		t.Fatal(err)
	}
	mail, err := mta.WaitMail(ctx, "bob", 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(mail[0], "\nRequire-TLS-ESMTP: yes\n") {
		t.Errorf("the request for alice is not in the message:\n%s", mail[0])
	}

	const python = "/usr/bin/python3" // Debian's, whatever comes first in PATH
	if _, err := exec.LookPath(python); err != nil {
		t.Skipf("SKIP: no %s: the program of the guide is not run", python)
	}
	program := strings.NewReplacer(`"mail.example.com", 25`, `"`+mta.IP+`", 2525`,
		"create_default_context()", `create_default_context(cafile="`+authority.WriteCert(t, t.TempDir())+`")`,
		// The policy of the guide asks for alice; here it is the program that asks.
		"alice@example.com", "carol@example.com").Replace(guide["program"])
	if out, err := exec.CommandContext(ctx, python, "-c", program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := mta.Log.Wait(ctx, 0, `smtpd\[\d+\]: \w+: client=\S+, requiretls=yes$`); err != nil {
		t.Error(err)
	}
	if mail, err = mta.WaitMail(ctx, "bob", 2); err != nil {
		t.Fatal(err)
	}
	for _, m := range mail {
		if strings.Contains(m, "for your eyes only") && !strings.Contains(m, "\nRequire-TLS-ESMTP: yes\n") {
			t.Errorf("the request is not in the message:\n%s", m)
		}
	}
}
