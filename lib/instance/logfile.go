package instance

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// CheckLogFile says why maillog_file must not be written: it has to be in one of
// the directories of maillog_file_prefixes. Without root it may also be below the
// configuration directory or beside the queue. No log file is no mistake.
func CheckLogFile(file string, prefixes []string, configDir, queueDir string, root bool) error {
	if !root {
		prefixes = append(slices.Clip(prefixes), configDir, filepath.Dir(queueDir))
	}
	for _, p := range prefixes {
		if file == "" || below(file, p) {
			return nil
		}
	}
	return fmt.Errorf("maillog_file %q is in none of the directories of maillog_file_prefixes (%s)",
		file, strings.Join(prefixes, ", "))
}

// below reports whether path is prefix or in a directory below it.
func below(path, prefix string) bool {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || prefix == "" {
		return false
	}
	prefix = strings.TrimRight(prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}
