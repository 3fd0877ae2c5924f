# Who includes whom, from the includes themselves. A module is x.c with x.h.
#
# usage: awk -f includes.awk FILE…    paths as they are included: daemon/restore.c
# prints one finding a line, as lint.sh reads them: RULE <tab> KEY <tab> TEXT [<tab> TEXT…]

BEGIN {
	below["common"] = "common"
	below["worker"] = "worker common"
	below["daemon"] = "daemon common"
	below["ctl"] = "ctl common"
}

function module_of(path) {
	sub(/\.[ch]$/, "", path)
	return path
}

function folder_of(path) {
	sub(/\/.*/, "", path)
	return path
}

# A bare name stands for a file in the includer's own folder.
function resolve(name, includer) {
	if (name ~ /\//)
		return name
	sub(/[^\/]*$/, name, includer)
	return includer
}

function add_arrow(file, name,    from, to) {
	from = module_of(file)
	to = module_of(resolve(name, file))
	if (from == to)
		return
	if (!((from, to) in arrow)) {
		arrow[from, to] = file ": #include \"" name "\""
		successors[from] = successors[from] " " to
	}
}

FNR == 1 {
	files[++n_files] = FILENAME
	if (!(module_of(FILENAME) in is_module)) {
		is_module[module_of(FILENAME)] = 1
		modules[++n_modules] = module_of(FILENAME)
	}
}

/^[ \t]*#[ \t]*include[ \t]*["<]/ {
	name = $0
	sub(/^[^"<]*["<]/, "", name)
	sub(/[">].*/, "", name)
	if (/</ && !(folder_of(name) in below) && name !~ /^tests\//)
		next
	includes[++n_includes] = name
	includer[n_includes] = FILENAME
}

# The folders are processes: an arrow to another one's, or to tests/, would join them.
function direction(i,    from, to) {
	from = folder_of(includer[i])
	to = folder_of(resolve(includes[i], includer[i]))
	if (!(from in below) || index(" " below[from] " ", " " to " "))
		return
	printf "direction\t%s includes %s\t%s/ may include only %s\n",
		includer[i], includes[i], from, below[from]
}

# The shortest way from a module back to itself, into circle[1..]; its length, or 0.
function find_circle(start,    queue, head, tail, seen, came_from, n, i, next_modules, at, k) {
	queue[tail = 1] = start
	for (head = 1; head <= tail; head++) {
		n = split(successors[queue[head]], next_modules, " ")
		for (i = 1; i <= n; i++) {
			at = next_modules[i]
			if (at in seen)
				continue
			seen[at] = 1
			came_from[at] = queue[head]
			queue[++tail] = at
			if (at != start)
				continue
			k = 0
			do {
				circle[++k] = arrow[came_from[at], at]
				at = came_from[at]
			} while (at != start)
			return k
		}
	}
	return 0
}

END {
	for (i = 1; i <= n_includes; i++) {
		direction(i)
		if (module_of(resolve(includes[i], includer[i])) in is_module)
			add_arrow(includer[i], includes[i])
	}
	for (i = 1; i <= n_modules; i++) {
		if (!(folder_of(modules[i]) in below))
			continue
		n_circle = find_circle(modules[i])
		if (!n_circle)
			continue
		printf "circle\t%s circle\tthe shortest circle it stands in:", modules[i]
		for (k = n_circle; k >= 1; k--)
			printf "\t%s", circle[k]
		printf "\n"
	}
	printf "seen\t%d files, %d includes\t\n", n_files, n_includes
}
