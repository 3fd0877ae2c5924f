# How long, how wide: files, functions, parameters, structs. Reads the kernel style, in
# which what stands in column 0 opens and closes functions and structs.
#
# usage: awk -f lint_limits.awk FILE…
# prints one finding a line, as lint.sh reads them: RULE <tab> KEY <tab> TEXT

BEGIN {
	MAX_FILE = 500
	MAX_BODY = 45
	MAX_PARAMETERS = 6
	MAX_MEMBERS = 25
}

function found(rule, what, n, unit, max) {
	if (n > max)
		printf "%s\t%s%s\t%d %s, the limit is %d\n", rule, file, what, n, unit, max
}

# The line without comments, strings and characters; in_comment lasts over lines.
function code_of(line,    out, what) {
	out = ""
	for (;;) {
		if (in_comment) {
			if (!match(line, /\*\//))
				return out
			line = substr(line, RSTART + 2)
			in_comment = 0
		}
		if (!match(line, /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'|\/\*|\/\//))
			return out line
		what = substr(line, RSTART, 2)
		out = out substr(line, 1, RSTART - 1)
		line = substr(line, RSTART + RLENGTH)
		if (what == "//")
			return out
		if (what == "/*")
			in_comment = 1
		else
			out = out "0"
	}
}

# Items of a list that is separated by commas, not looking into brackets.
function count_items(list,    i, c, depth, n) {
	n = 1
	depth = 0
	for (i = 1; i <= length(list); i++) {
		c = substr(list, i, 1)
		if (c ~ /[([{]/)
			depth++
		else if (c ~ /[])}]/)
			depth--
		else if (c == "," && depth == 0)
			n++
	}
	return n
}

# The place of the bracket that the last one in the text closes.
function opening_of(text, close_at,    i, depth) {
	for (i = close_at; i >= 1; i--) {
		if (substr(text, i, 1) == ")")
			depth++
		else if (substr(text, i, 1) == "(" && --depth == 0)
			return i
	}
	return 0
}

# From what stands before the body: whose it is, and how many parameters it has.
function begin_function(head,    close_at, open_at, list) {
	close_at = length(head)
	while (close_at > 0 && substr(head, close_at, 1) != ")")
		close_at--
	open_at = opening_of(head, close_at)
	list = substr(head, open_at + 1, close_at - open_at - 1)
	name = substr(head, 1, open_at - 1)
	gsub(/[ \t]+$/, "", name)
	sub(/.*[ \t*]/, "", name)
	if (name == "START_TEST")
		name = list
	inside = "function"
	began = FNR
	n_functions++
	found("parameters", " function " name " parameters",
		list ~ /^[ \t]*(void)?[ \t]*$/ ? 0 : count_items(list), "parameters", MAX_PARAMETERS)
}

function end_function() {
	found("body", " function " name " lines", FNR - began - 1, "lines in its body", MAX_BODY)
}

function begin_struct(line) {
	name = line
	sub(/^typedef[ \t]+/, "", name)
	sub(/[ \t]*\{.*/, "", name)
	inside = "struct"
	members = ""
	n_structs++
}

# Members of a struct or union inside are its own: it counts as one.
function end_struct(    i, n, list, total) {
	while (members ~ /\{[^{}]*\}/)
		gsub(/\{[^{}]*\}/, "", members)
	n = split(members, list, ";")
	total = 0
	for (i = 1; i < n; i++)
		total += count_items(list[i])
	found("members", " " name, total, "members", MAX_MEMBERS)
}

function end_file() {
	if (inside)
		printf "unread\t%s %s %s\tits end was not found\n", file, inside, name
	found("file", " lines", last_line, "lines", MAX_FILE)
	inside = head = ""
	in_comment = in_macro = 0
}

FNR == 1 {
	if (file != "")
		end_file()
	file = FILENAME
}

{
	last_line = FNR
	line = code_of($0)
}

in_macro || line ~ /^[ \t]*#/ {
	in_macro = line ~ /\\$/
	next
}

inside && line ~ /^}/ {
	if (inside == "function")
		end_function()
	else
		end_struct()
	inside = head = ""
	next
}

inside == "struct" { members = members line " " }
inside { next }

line ~ /^(typedef[ \t]+)?(struct|union)([ \t]+[A-Za-z_0-9]+)?[ \t]*\{[ \t]*$/ {
	begin_struct(line)
	next
}

# On one line.
line ~ /^[A-Za-z_].*\)[ \t]*\{.*\}[ \t]*$/ {
	sub(/\{.*/, "", line)
	begin_function(head line)
	inside = head = ""
	next
}

line ~ /^\{[ \t]*$/ || line ~ /^[A-Za-z_].*\)[ \t]*\{[ \t]*$/ {
	sub(/\{[ \t]*$/, "", line)
	begin_function(head line)
	head = ""
	next
}

# A declaration may be broken over lines; whatever ends one starts anew.
line ~ /[;}]/ || line ~ /^[ \t]*$/ {
	head = ""
	next
}

{ head = head line " " }

END {
	if (file != "")
		end_file()
	printf "seen\t%d functions, %d structs\t\n", n_functions, n_structs
}
