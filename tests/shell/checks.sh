# Sourced by the scripts that walk through a cluster as a user would. They set $scratch, a directory, and end with `summary`.
passed=0
failed=0

check() { # check WHAT COMMAND...
  local what=$1
  shift
  if "$@" >"$scratch/out" 2>&1; then
    echo "ok   $what"
    passed=$((passed + 1))
  else
    echo "FAIL $what"
    sed 's/^/     /' "$scratch/out" | tail -n 30
    failed=$((failed + 1))
  fi
}
says() { # says EXPECTED COMMAND...: the command's standard output is exactly EXPECTED
  local expected=$1 got
  shift
  got=$("$@") || { echo "exit $?: $got"; return 1; }
  [ "$got" = "$expected" ] || { printf 'expected: %s\ngot:      %s\n' "$expected" "$got"; return 1; }
}
soon() { # soon SECONDS COMMAND...: it comes true within that time
  local deadline=$((SECONDS + $1)) last=""
  shift
  until last=$("$@" 2>&1); do
    if [ $SECONDS -ge $deadline ]; then printf '%s\n' "$last"; return 1; fi
    sleep 0.2
  done
}
summary() { # the last line, and the script's exit code
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}
