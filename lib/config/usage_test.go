package config

import (
	"slices"
	"strings"
	"testing"
)

func masterEntries(t *testing.T, text string) []Entry {
	t.Helper()
	entries, err := parseMaster(strings.NewReader(text), "master.cf")
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func mainSettings(t *testing.T, text string) []Setting {
	t.Helper()
	settings, _, err := parseMain(strings.NewReader(text), "main.cf")
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

func settingNames(settings []Setting) string {
	var names []string
	for _, s := range settings {
		names = append(names, s.File+":"+s.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestUnusedAndUndefinedNames(t *testing.T) {
	const smtpd = "smtp inet n - n - - smtpd\n"
	for _, tt := range []struct {
		name, main, master string
		undefined, unused  string
	}{
		{"a misspelt name", "misspelt = 1\nmyorigin = $nosuch\n", smtpd, "main.cf:nosuch", "main.cf:misspelt"},
		{"used in every form", "a = 1\nb = 1\nc = 1\nd = 1\ne = 1\nmyorigin = $a${b}$(c)${d?x}${{$e} == {}}\n", smtpd, "", ""},
		{"used by a function", "a = 1\nmyorigin = ${domain_to_ascii{$a}}\n", smtpd, "", ""},
		{"$$ is no use", "a = 1\nmyorigin = $$a\n", smtpd, "", ""},
		{"used by one that nothing uses", "a = $b\nb = 1\n", smtpd, "", "main.cf:a"},
		{"restriction classes", "smtpd_restriction_classes = one, two three\none = permit\ntwo = reject\nfour = permit\n", smtpd, "main.cf:three", "main.cf:four"},
		{"a table's settings", "virtual_alias_maps = ldap:a, proxy:mysql:b, pgsql:/etc/c\na_server_host = x\nb_hosts = x\nb_server_host = x\nc_hosts = x\n", smtpd,
			"", "main.cf:b_server_host main.cf:c_hosts"},
		{"a table of our own kind", "virtual_alias_maps = redis:a\na_key_format = x\na_server_host = x\n", smtpd, "", "main.cf:a_server_host"},
		{"a table named by another parameter", "maps = sqlite:a\nvirtual_alias_maps = $maps\na_dbpath = x\n", smtpd, "", ""},
		{"used by a service", "a = 1\n", smtpd + " -o myorigin=$a\n", "", ""},
		{"own names of a service", "", smtpd + " -o a=1 -o myorigin=$a -o b=2\n", "", "master.cf:b"},
		{"those of another service", "", smtpd + " -o a=1 -o myorigin=$a\nx unix - - n - - smtp -o a=2 -o myhostname=$a$b\n", "master.cf:b", ""},
		{"unused in one service", "", smtpd + " -o a=1 -o myorigin=$a\nx unix - - n - - smtp -o a=2\n", "", "master.cf:a"},
		{"another value of a name of main.cf", "a = 1\nmyorigin = $a\n", smtpd + " -o a=2\n", "", ""},
		{"a class for one service", "", smtpd + " -o smtpd_restriction_classes=c -o c=permit\n", "", ""},
		{"names of services", "x_destination_rate_delay = 1s\ny_destination_rate_delay = 1s\nx_time_limit = 1\np_time_limit = 1\n",
			"x unix - - n - - smtp\np unix - n n - - pipe\n", "", "main.cf:x_time_limit main.cf:y_destination_rate_delay"},
		{"words of a command are no options", "", "p unix - n n - - pipe argv=x -o a=1\n", "", ""},
		{"text that is expanded later", "forward_path = $home/x\ndefault_rbl_reply = $rbl_code\n", smtpd, "", ""},
		{"the daemons' own names", "myorigin = $process_name$service_name\n", smtpd, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := Examine(mainSettings(t, tt.main), masterEntries(t, tt.master), "master.cf")
			if got := settingNames(u.Undefined); got != tt.undefined {
				t.Errorf("undefined: %s, want %s", got, tt.undefined)
			}
			if got := settingNames(u.Unused); got != tt.unused {
				t.Errorf("unused: %s, want %s", got, tt.unused)
			}
		})
	}
}

func TestDeprecatedAndReadOnlyNames(t *testing.T) {
	u := Examine(mainSettings(t, "smtpd_use_tls = yes\nprocess_name = x\nmyorigin = $virtual_maps\n"),
		masterEntries(t, "smtp inet n - n - - smtpd -o smtpd_enforce_tls=yes\n"), "master.cf")
	if got := settingNames(u.Deprecated); got != "main.cf:smtpd_use_tls master.cf:smtpd_enforce_tls" {
		t.Errorf("deprecated: %s", got)
	}
	if got := settingNames(u.ReadOnly); got != "main.cf:process_name" {
		t.Errorf("read-only: %s", got)
	}
}

// Every row about deprecated and unsupported parameters is about some parameter:
// one of the table, or an old name that a default mentions.
func TestRowsAreAboutParameters(t *testing.T) {
	old := newScope(nil)
	for _, p := range Params() {
		old.note(p.Default)
	}
	for name := range deprecated {
		if _, ok := Lookup(name); !ok && !old.used[name] {
			t.Errorf("deprecated: nothing knows %s", name)
		}
	}
	for _, row := range unsupported {
		for _, pattern := range strings.Fields(row.patterns) {
			if !slices.ContainsFunc(Params(), func(p *Param) bool { return matchName(pattern, p.Name) }) {
				t.Errorf("unsupported: no parameter is %s", pattern)
			}
		}
	}
}

func TestInsteadOfUnsupportedParameters(t *testing.T) {
	for name, want := range map[string]string{
		"smtpd_milters":                        "content_filter",
		"postscreen_greet_wait":                "no postscreen",
		"tls_high_cipherlist":                  "crypto/tls",
		"smtp_tls_enable_rpk":                  "raw public keys",
		"lmdb_map_size":                        "run postmap",
		"smtpd_client_message_rate_limit":      "smtpd_client_connection_count_limit",
		"fault_injection_code":                 "it has no effect; remove it",
		"smtp_sender_dependent_authentication": "does not log in",
	} {
		if got := Instead(name); !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
}

// What is set to its default is not reported, whatever form it has; a service's
// setting is reported with the line of the service.
func TestUnsupportedParametersAreReportedWithTheirLine(t *testing.T) {
	c := mustLoad(t, "fault_injection_code = 0\nmilter_protocol = 2\nimport = x\nfork_attempts = 7\n")
	got := c.Problems("DIR/master.cf", masterEntries(t, "# c\nsmtp inet n - n - - smtpd\n -o fork_delay=2s -o fork_attempts=5\n"))
	var said []string
	for _, p := range got {
		if strings.Contains(p, "is not supported") {
			said = append(said, p[strings.LastIndex(p[:strings.Index(p, ": line")], "/")+1:])
		}
	}
	slices.Sort(said)
	const one = ": one process serves all sessions of a service; remove it"
	want := []string{
		`main.cf: line 2: parameter "milter_protocol" is not supported: mail filters (milters) are not called; use a filter that speaks SMTP or LMTP with content_filter`,
		`main.cf: line 4: parameter "fork_attempts" is not supported` + one,
		`master.cf: line 2: parameter "fork_delay" is not supported` + one,
	}
	if !slices.Equal(said, want) {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}

func TestServiceThatOverridesAnotherIsReported(t *testing.T) {
	c := mustLoad(t, "")
	got := c.Problems("master.cf", masterEntries(t, "x unix - - n - - smtp\nx inet n - n - - smtpd\nx unix - - n - - lmtp\n"))
	if want := []string{"master.cf: line 3: service x/unix overrides that of line 1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// An absent level means the latest one; a lower one brings back old defaults; a
// malformed one is an error of its own line.
func TestCompatibilityLevel(t *testing.T) {
	for _, tt := range []struct{ line, relay, append string }{
		{"", "", "no"},
		{"compatibility_level = 3.6\n", "", "no"},
		{"compatibility_level = 1\n", "mx.example", "no"},
		{"compatibility_level = 0\n", "mx.example", "yes"},
		{"compatibility_level = $old\nold = 0.1\n", "mx.example", "yes"},
	} {
		c := mustLoad(t, "mydestination = mx.example\n"+tt.line)
		if relay, add := c.Str("relay_domains"), c.Bool("append_dot_mydomain"); relay != tt.relay || add != (tt.append == "yes") {
			t.Errorf("%q: relay_domains = %s, append_dot_mydomain = %t", tt.line, relay, add)
		}
	}
	for _, value := range []string{"", "new", "3.6.1.9", "-1", "3.x", "$myhostname"} {
		_, err := load(t, "myhostname = mx.example\ncompatibility_level = "+value+"\n")
		if err == nil || !strings.Contains(err.Error(), "main.cf, line 2: parameter compatibility_level: bad value ") {
			t.Errorf("%q: %v", value, err)
		}
	}
	got := mustLoad(t, "compatibility_level = 99\n").Problems("master.cf", nil)
	if len(got) != 1 || !strings.HasSuffix(got[0], "main.cf, line 1: parameter compatibility_level: 99 is later than this release knows: it means 3.11") {
		t.Errorf("99: %q", got)
	}
	if got := mustLoad(t, "compatibility_level = 3.11\n").Problems("master.cf", nil); len(got) != 0 {
		t.Errorf("3.11: %q", got)
	}
}
