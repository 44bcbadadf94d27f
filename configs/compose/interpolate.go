package compose

import (
	"errors"
	"fmt"
	"strings"
)

// lookup finds a variable.
type lookup func(name string) (string, bool)

// operators of ${NAME<operator>TEXT}, longer ones first.
var operators = []string{":-", ":?", ":+", "-", "?", "+"}

// interpolate replaces $NAME and ${NAME…} as Compose does, with one difference:
// a variable that is not set and has no default is an error. Compose puts
// nothing in its place, and a spider then starts with an empty address.
func interpolate(text string, find lookup) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		value, after, err := variable(rest, find)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		text = after
	}
}

// variable reads what follows a dollar sign.
func variable(text string, find lookup) (value, rest string, err error) {
	if after, ok := strings.CutPrefix(text, "$"); ok {
		return "$", after, nil
	}
	if body, ok := strings.CutPrefix(text, "{"); ok {
		end := closingBrace(body)
		if end < 0 {
			return "", "", errors.New("${ has no }: write $$ for a dollar sign")
		}
		value, err = substitute(body[:end], find)
		return value, body[end+1:], err
	}
	name, after := splitName(text)
	if name == "" {
		return "", "", errors.New("$ begins no variable: write $$ for a dollar sign")
	}
	value, err = substitute(name, find)
	return value, after, err
}

// maxNesting bounds defaults within defaults, whose cost grows with its square.
const maxNesting = 16

// closingBrace returns the index of the brace that ends body, or -1.
func closingBrace(body string) int {
	for i, depth := 0, 1; i < len(body) && depth <= maxNesting; i++ {
		switch {
		case strings.HasPrefix(body[i:], "${"):
			depth++
			i++
		case body[i] == '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func splitName(text string) (name, rest string) {
	for i := range len(text) {
		c := text[i]
		letter := c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return text[:i], text[i:]
		}
	}
	return text, ""
}

// substitute finds the value of NAME, or of NAME with an operator and a text.
func substitute(expression string, find lookup) (string, error) {
	name, rest := splitName(expression)
	operator, text := "", rest
	for _, o := range operators {
		if after, ok := strings.CutPrefix(rest, o); ok {
			operator, text = o, after
			break
		}
	}
	if name == "" || operator == "" && rest != "" {
		return "", fmt.Errorf("${%s} is not a variable: write $$ for a dollar sign", expression)
	}
	value, set := find(name)
	if strings.HasPrefix(operator, ":") {
		set = set && value != ""
	}
	switch strings.TrimPrefix(operator, ":") {
	case "-":
		if !set {
			return interpolate(text, find)
		}
	case "+":
		if set {
			return interpolate(text, find)
		}
		return "", nil
	case "?":
		if !set {
			return "", required(name, text, find)
		}
	default:
		if !set {
			return "", fmt.Errorf("the variable %s is not set: set it, or write ${%s:-DEFAULT}", name, name)
		}
	}
	return value, nil
}

func required(name, message string, find lookup) error {
	message, err := interpolate(message, find)
	if err != nil {
		return err
	}
	if message == "" {
		message = "it is required"
	}
	return fmt.Errorf("the variable %s is not set: %s", name, message)
}
