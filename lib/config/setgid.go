package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// SetgidDir is Dir for a command that may be installed setgid. With rights that
// its caller lacks, and unless that is the super-user, it takes only directories
// that main.cf in the default directory lists in alternate_config_directories or
// multi_instance_directories: the group's rights are not for files of the
// caller's choice.
func SetgidDir(flag string) (string, error) {
	restricted := os.Getuid() != 0 && (os.Getegid() != os.Getgid() || os.Geteuid() != os.Getuid())
	return listedDir(Dir(flag), DefaultDir, restricted)
}

func listedDir(dir, def string, restricted bool) (string, error) {
	if !restricted || dir == def {
		return dir, nil
	}
	c, err := Load(def)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"alternate_config_directories", "multi_instance_directories"} {
		if slices.Contains(c.List(name), dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("unauthorized configuration directory %q: specify \"alternate_config_directories = %s\" in %s",
		dir, dir, filepath.Join(def, "main.cf"))
}
