// Package postconfcase is a configuration that was edited by hand for years, and
// what postconf is asked about it: the golden tests of postconf and the comparison
// with Debian's postconf use the same.
package postconfcase

import (
	_ "embed" // the two files
)

// MainCF and MasterCF are the files.
var (
	//go:embed main.cf
	MainCF string
	//go:embed master.cf
	MasterCF string
)

// Case is one run of postconf on a fresh copy of the files.
type Case struct {
	Name   string
	Args   []string
	Differ string // why Debian's postconf 3.7 says something else; "" when it must not
	Moves  bool   // Debian's moves the comments that follow a service before it
}

// Cases are the runs. None depends on the host.
func Cases() []Case {
	var cases []Case
	for _, group := range [][]Case{showMain, showMaster, editMain, editMaster, malformed, own} {
		cases = append(cases, group...)
	}
	return cases
}

var showMain = []Case{
	{Name: "n", Args: []string{"-n"}},
	{Name: "nf", Args: []string{"-nf"}},
	{Name: "nx", Args: []string{"-n", "-x"}},
	{Name: "nh", Args: []string{"-n", "-h"}},
	{Name: "nH", Args: []string{"-nH"}},
	{Name: "names", Args: []string{"smtpd_timeout", "home", "no_such_name", "relay_domains"}},
	{Name: "p", Args: []string{"-p", "myhostname"}},
	{Name: "x", Args: []string{"-x", "relay_domains", "virtual_mailbox_base", "smtpd_sender_restrictions"}},
	{Name: "o", Args: []string{"-x", "-o", "home=/other", "-o", "mydomain=no", "virtual_mailbox_base", "relay_domains"}},
	{Name: "d", Args: []string{"-d", "relay_domains", "smtpd_timeout", "home", "always_bcc"}},
	{Name: "df", Args: []string{"-df", "proxy_write_maps", "relay_domains"}},
	{Name: "dx", Args: []string{"-dx", "smtpd_timeout", "smtpd_hard_error_limit", "smtpd_junk_command_limit"}},
	{Name: "C_user", Args: []string{"-C", "user"}},
	{Name: "C_service", Args: []string{"-C", "service"}},
	{Name: "C_user_service_h", Args: []string{"-h", "-C", "user,service"}},
	{Name: "l", Args: []string{"-l"}},
}

var showMaster = []Case{
	{Name: "M", Args: []string{"-M"}},
	{Name: "Mf", Args: []string{"-Mf"}},
	{Name: "Mx", Args: []string{"-Mx"}},
	{Name: "Mxf", Args: []string{"-Mxf", "submission"}},
	{Name: "M_services", Args: []string{"-M", "smtp/inet", "relay", "*/pass", "no-such"}},
	{Name: "F", Args: []string{"-F"}},
	{Name: "Ff", Args: []string{"-Ff"}},
	{Name: "FH", Args: []string{"-FH", "smtp", "*/unix/wakeup"}},
	{Name: "Fh", Args: []string{"-Fh", "*/*/chroot"}},
	{Name: "Fx", Args: []string{"-Fx", "relay/unix/command"}},
	{Name: "P", Args: []string{"-P"}},
	{Name: "Pf", Args: []string{"-Pf"}},
	{Name: "Px", Args: []string{"-Px"}},
	{Name: "Ph", Args: []string{"-Ph"}},
	{Name: "PH", Args: []string{"-PH", "submission/inet"}},
	{Name: "P_one", Args: []string{"-P", "*/*/syslog_name", "smtp/inet/syslog_name"}},
}

var editMain = []Case{
	{Name: "e", Args: []string{"-e", "relayhost = [new.example.com]", "mydestination=$myhostname"}},
	{Name: "e_implied", Args: []string{"new_one=1", "myhostname=mx2.example.com"}},
	{Name: "e_new", Args: []string{"new_two = two  words", "new_one=1"}, Differ: "new names come in the order of a hash table"},
	{Name: "e_repeated", Args: []string{"smtpd_timeout=100s"}},
	{Name: "e_same_name", Args: []string{"home=/a", "home=/b"}},
	{Name: "X", Args: []string{"-X", "mydestination", "smtpd_timeout", "not_there"}},
	{Name: "comment_out", Args: []string{"-#", "smtpd_recipient_restrictions", "home"}},
}

var editMaster = []Case{
	{Name: "M_replace", Args: []string{"-M", "submission/inet=submission inet n - n - 20 smtpd -v -o a=b -o { c = d e }"}},
	{Name: "M_add", Args: []string{"-M", "-e", "smtps/inet=smtps inet n - n - - smtpd -o smtpd_tls_wrappermode=yes"}},
	{Name: "M_all", Args: []string{"-M", "qmgr/unix=qmgr unix n - n 300 1 qmgr", "pickup/unix=pickup unix n - n 60 1 pickup"}},
	{Name: "MX", Args: []string{"-MX", "submission/inet", "no-such/unix"}},
	{Name: "M_comment_out", Args: []string{"-M#", "submission/inet", "relay/unix"}},
	{Name: "F_one", Args: []string{"-F", "smtp/inet/chroot=n"}, Moves: true},
	{Name: "F_command", Args: []string{"-F", "maildrop/unix/command=pipe flags=D user=mail argv=/bin/cat"}, Moves: true},
	{Name: "F_many", Args: []string{"-F", "*/unix/chroot=n"}, Moves: true},
	{Name: "F_unmatched", Args: []string{"-F", "no-such/unix/chroot=n", "relay/unix/private=-"}, Moves: true},
	{Name: "P_replace", Args: []string{"-P", "submission/inet/smtpd_client_restrictions=permit", "relay/unix/syslog_name=x"}, Moves: true},
	{Name: "P_add", Args: []string{"-P", "smtp/inet/smtpd_timeout=5s", "127.0.0.1:10025/inet/smtpd_timeout=6s", "maildrop/unix/always_bcc=x"}, Moves: true},
	{Name: "P_many", Args: []string{"-P", "*/inet/smtpd_timeout=7s"}, Moves: true},
	{Name: "PX", Args: []string{"-PX", "submission/inet/local_name", "relay/unix/syslog_name"}, Moves: true},
	{Name: "PX_unmatched", Args: []string{"-PX", "no-such/inet/x"}},
}

var malformed = []Case{
	{Name: "bad_dn", Args: []string{"-dn"}},
	{Name: "bad_hH", Args: []string{"-h", "-H"}},
	{Name: "bad_lm", Args: []string{"-l", "-m"}},
	{Name: "bad_MP", Args: []string{"-MP"}},
	{Name: "bad_pM", Args: []string{"-pM"}},
	{Name: "bad_Mh", Args: []string{"-Mh"}},
	{Name: "bad_FX", Args: []string{"-FX", "smtp/inet/chroot"}},
	{Name: "bad_P_comment", Args: []string{"-P#", "smtp/inet/x"}},
	{Name: "bad_bx", Args: []string{"-bx"}},
	{Name: "bad_ef", Args: []string{"-ef", "a=b"}},
	{Name: "bad_eX", Args: []string{"-X", "a=b"}},
	{Name: "bad_ed", Args: []string{"-d", "a=b"}},
	{Name: "bad_e_nothing", Args: []string{"-e"}},
	{Name: "bad_X_nothing", Args: []string{"-X"}},
	{Name: "bad_MX_nothing", Args: []string{"-MX"}},
	{Name: "bad_e_no_value", Args: []string{"-e", "myhostname"}},
	{Name: "bad_e_no_name", Args: []string{"-e", "=x"}},
	{Name: "bad_e_comment", Args: []string{"-e", "#x=y"}},
	{Name: "bad_e_lines", Args: []string{"-e", "x=y\nz"}},
	{Name: "bad_C", Args: []string{"-C", "nonsense"}},
	{Name: "bad_o", Args: []string{"-o", "nonsense", "home"}, Differ: "it reads main.cf first and warns of duplicates"},
	{Name: "bad_T", Args: []string{"-T", "nonsense"}},
	{Name: "bad_M_target", Args: []string{"-M", "a/b/c"}},
	{Name: "bad_F_target", Args: []string{"-F", "a/b/c/d"}},
	{Name: "bad_P_target", Args: []string{"-P", "a/b/c/d"}},
	{Name: "bad_MX_target", Args: []string{"-MX", "smtp"}},
	{Name: "bad_Fe_target", Args: []string{"-F", "smtp/inet=x"}},
	{Name: "bad_Pe_target", Args: []string{"-P", "smtp/inet=x"}},
	{Name: "bad_F_field", Args: []string{"-F", "smtp/inet/nonsense"}},
	{Name: "bad_F_value", Args: []string{"-F", "smtp/inet/chroot=maybe"}, Differ: "the error says what is expected"},
	{Name: "bad_M_fields", Args: []string{"-M", "smtp/inet=smtp inet n"}, Differ: "the error says what is expected"},
	{Name: "bad_option", Args: []string{"-Z"}, Differ: "the usage has more options"},
}

var own = []Case{
	{Name: "v", Args: []string{"-v", "home"}, Differ: "it says other things"},
	{Name: "q", Args: []string{"-nq"}, Differ: "since 3.9"},
	{Name: "j", Args: []string{"-nj"}, Differ: "since 3.11"},
	{Name: "Mj", Args: []string{"-Mj", "submission", "maildrop"}, Differ: "since 3.11"},
	{Name: "Fj", Args: []string{"-Fj", "relay"}, Differ: "since 3.11"},
	{Name: "Pj", Args: []string{"-Pjx"}, Differ: "since 3.11"},
	{Name: "bad_fj", Args: []string{"-fj"}, Differ: "since 3.11"},
	{Name: "P_white", Args: []string{"-P", "smtp/inet/smtpd_sender_restrictions=permit_mynetworks, reject"}, Differ: "it accepts no white space"},
	{Name: "t", Args: []string{"-t", ""}, Differ: "the texts are our own"},
	{Name: "b", Args: []string{"-b"}, Differ: "the texts are our own"},
	{Name: "a", Args: []string{"-a"}, Differ: "there is no SASL"},
	{Name: "A", Args: []string{"-A"}, Differ: "there is no SASL"},
	{Name: "T_keys", Args: []string{"-T", "public-key-algorithms"}, Differ: "those of Go"},
}

// Expressions are values whose expansion is the same in every version.
var Expressions = []string{
	"x${word}x", "$(word)", "$word.x", "$$word$$", "${ word }", "x${none}x", "${ }",
	"${word?yes}", "${word?{yes}}", "x${word?{ yes }}x", "${word?yes:no}", "${word?{yes}:{no}}", "${word?{yes}:no}",
	"${none?{yes}:{no}}", "${none?yes:no}", "${none:no}", "${none:{no}}", "${none?{yes}:no}", "${word ? {yes} : {no}}", "${word ?yes}",
	"x${word? yes }x", "x${word?}x", "x${word:}x", "x${word?{}}x", "${word?{a:b}}", "${word?a?b}", "${none:a:b}", "${none:a?b}",
	"${{a} == {a}}", "x${{a} == {b}}x", "${{a}=={a}?{y}:{n}}", "${{a} == {a} ? {y} : {n}}", "${{a} == {a} ? y : n}", "${{a} != {a} : {n}}",
	"x${{ a} == {a} ? {y} : { n }}x", "${{9} < {10} ? {y} : {n}}", "${{09} == {9} ? {y} : {n}}", "${{x9} < {x10} ? {y} : {n}}",
	"${{} < {1} ? {y} : {n}}", "${{-1} < {0} ? {y} : {n}}", "${{$ten} >= {10} ? {$word} : {$none}}", "${{3.6} <level {3.10} ? {y} : {n}}",
	"${{3} ==level {3.0} ? {y} : {n}}", "${word?{${none?{x}:{z}}}}", "${word?${none?{x}:{z}}}", "$word{x}", "$word?{x}", "${word}?x", "{$word}",
	"${none:${none:${none:deep}}}", "$({a} == {a} ? {y})", "$(word?{yes}:{no})",
}

// BadExpressions are values that are errors.
var BadExpressions = []string{
	"a$", "a$ b", "$-", "${}", "${word", "$(word", "$(word}", "${word)}", "${word?{yes} junk}", "${word?{yes}:{no} junk}", "${word:{no} junk}",
	"${word?{yes}{no}}", "${word-x}", "${word x}", "${-}", "${word.x}", "${{a} == a ? {y}}", "${{a} ==}", "${{a} == {a} {y}}",
	"${{3.6} <foo {3.10} ? {y} : {n}}", "${{x} <level {3.10} ? {y} : {n}}", "${{3.6.1.2} <level {3.10} ? {y} : {n}}", "${{a$} == {a} ? {y} : {n}}",
	"${$word}", "${${word}}",
}
