#!/bin/bash
# Tracked files hold no notes to self and no paths of the machine they were written on.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

# Spelt so that this file does not hold what it looks for.
notes='\b(TO''DO|FIX''ME|XX''X)\b'
paths='(^|[^[:alnum:]_./-])(/wo''rk/|/tmp/b''-)'

git grep -nIE -e "$notes" -e "$paths"
case $? in
0)
        echo "take out the words above: finish what they note, and name paths relative to the repository"
        exit 1
        ;;
1) exit 0 ;;
*)
        echo "git grep failed; run this in a clone of the repository"
        exit 1
        ;;
esac
