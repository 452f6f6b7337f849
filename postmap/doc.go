// # NAME
//
// postmap, postalias - build, change and query lookup tables
//
// # SYNOPSIS
//
//	postmap [-bfFhijmnNoprsuUvw] [-c config_dir] [-d key] [-q key] [type:]file...
//	postalias [-fijnNoprsuvw] [-c config_dir] [-d key] [-q key] [type:]file...
//
// # DESCRIPTION
//
// The postmap command makes indexed lookup tables of text files: from file it makes
// file.bbolt, which daemons read as hash:file, btree:file, lmdb:file, cdb:file or
// bbolt:file; all of these mean the same. With -q, -s and -d it asks, lists and changes
// tables; -q works with tables of every type.
//
// The new table is written beside the old one and put in its place when it is complete
// and on disk: a daemon sees the old table or the new one, and notices the new one by
// itself. Commands that write one table wait for each other. The files of
// Postfix's own libraries (file.db, file.lmdb, file.cdb) are neither read nor written.
//
// The command postalias does the same with files in the format of aliases(5), and
// newaliases (see sendmail(1)) with those that alias_database names.
//
// # FILE FORMAT
//
// A line has a key, white space and a value. Empty lines, and those whose first character
// other than white space is "#", do not count; a line that begins with white space
// continues the one before. The key is what comes before the first white space that is
// not between double quotes and not after a backslash, and is kept with its quotes. Keys
// are folded to lower case.
//
// A line in the format of aliases(5) has a name, a colon and values with commas between
// them. The name may be in quotes, which do not belong to it.
//
// A line that makes no sense is left out with a warning, and so is one whose key was
// there before.
//
// # OPTIONS
//
//   - -b, -h: with "-q -": standard input is a message, and each line of its body (-b),
//     or each header with its folded lines (-h), is a key. Without -m the header of the
//     message is all that is a header.
//   - -c config_dir: the directory of main.cf, instead of MAIL_CONFIG or the default.
//   - -d key: remove the key from each table. "-" reads keys from standard input, one in
//     a line. The exit status is 0 when one was there.
//   - -f: do not fold keys. Patterns of regexp and pcre tables say themselves what they
//     distinguish.
//   - -F: a value is a list of file names, and what is stored is their content in base64;
//     with -q and -s values are decoded. Who may not read one of these files may not read
//     a new table.
//   - -i: add the lines of standard input to the table that is there.
//   - -j: with -q and -s, print one JSON object per line, {"key": "value"}.
//   - -m: with -b and -h: headers of MIME parts and of attached messages are headers, and
//     not lines of the body.
//   - -n, -N: accepted. They say how Postfix's libraries end keys.
//   - -o: stay root when the file belongs to another user. Without it the command becomes
//     that user before it reads the file.
//   - -p: a new table has mode 0644, whatever the mode of the file.
//   - -q key: print the value that the first table has which has the key. "-" reads keys
//     from standard input and prints key, tab and value (postalias: key, colon, tab and
//     value) of those that are found. The exit status is 0 when one was found. The key is
//     asked for as it is, without the steps of access(5), transport(5) and others.
//   - -r: a key that is there already gets the new value, without a warning.
//   - -s: print all keys and values, in the order of the keys, of tables that can be listed.
//   - -u: lines need not be UTF-8. -U: with -b and -h they must be.
//   - -v: say what is done.
//   - -w: no warning about a key that is there already; the old value stays.
//
// # CONFIGURATION PARAMETERS
//
//   - default_database_type (bbolt): the type where none is given.
//   - smtputf8_enable (yes): lines that are not UTF-8 are left out.
//   - header_size_limit (102400), mime_nesting_limit (100),
//     mime_boundary_length_limit (2048): limits with -b, -h and -m.
//   - alias_database ($default_database_type:/etc/aliases): what newaliases builds.
//
// # DIAGNOSTICS
//
// Problems are said on standard error. The exit status is 0 when the tables were built or
// something was found, and 1 otherwise. A table that fails, for example because its server
// cannot be reached, is an error, never "not found".
//
// # SEE ALSO
//
// postconf(1), sendmail(1), postconf(5)
package main
