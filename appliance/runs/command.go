package runs

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// argVariable begins the names of the variables that hold the arguments of a run.
const argVariable = "CRAWLBOX_ARG_"

// Variables returns the arguments as variables: CRAWLBOX_ARG_KEY for key.
func Variables(args map[string]string) map[string]string {
	env := map[string]string{}
	for name, value := range args {
		env[argVariable+strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))] = value
	}
	return env
}

// WithArgs returns a program's arguments with those of a run behind: as -a key=value for Scrapy, as --key=value for
// others. entry is what is before them: the entrypoint of the image, or of its service. One that a shell reads gets
// them quoted in its line.
func WithArgs(entry, command []string, args map[string]string) []string {
	if len(args) == 0 {
		return command
	}
	whole := slices.Concat(entry, command)
	if n := len(whole); n == 3 && isShell(whole[0]) && whole[1] == "-c" && len(command) > 0 {
		line := whole[2]
		for _, flag := range flags(isScrapy(strings.Fields(line)), args) {
			line += " " + quoted(flag)
		}
		command = slices.Clone(command)
		command[len(command)-1] = line
		return command
	}
	return append(slices.Clone(command), flags(isScrapy(whole), args)...)
}

func flags(scrapy bool, args map[string]string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if scrapy {
			list = append(list, "-a", name+"="+args[name])
		} else {
			list = append(list, "--"+name+"="+args[name])
		}
	}
	return list
}

// isScrapy reports whether words are scrapy crawl, also by way of Python or of a shell's exec.
func isScrapy(words []string) bool {
	if len(words) > 0 && words[0] == "exec" {
		words = words[1:]
	}
	if len(words) > 2 && strings.HasPrefix(path.Base(words[0]), "python") && words[1] == "-m" {
		words = words[2:]
	}
	return len(words) > 1 && path.Base(words[0]) == "scrapy" && (words[1] == "crawl" || words[1] == "runspider")
}

func isShell(program string) bool {
	return slices.Contains([]string{"sh", "bash", "ash", "dash"}, path.Base(program))
}

func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
