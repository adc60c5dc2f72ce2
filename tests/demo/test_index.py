#!/usr/bin/env python3
"""Compares every word of the index with grep, over files made to be hard to read."""
import os
import subprocess
import sys
import tempfile

FILES = {
    "plain": b"one two one\ntwo_three two\n\none\n",
    "no-final-newline": b"one\ntwo one",
    "crlf": b"one\r\ntwo one\r\n\r\n",
    "bare-cr": b"one\rone\rtwo\n",
    "high-bytes": b"\xc3\xa9one\xc3\xa9 caf\xe9two two\xff\n\xffone\n\x80\n\xef\xbb\xbfone\n",
    "nul": b"one\0two one\none\0\0one one\n\0",
    "nul-late": b"one two\n" * 40000 + b"one\0one\0one\n" * 3 + b"two\n" * 40000 + b"one\0two\0one",
    "nul-at-buffer-end": b"x" * 32767 + b"\0one\0" + b"y" * 98304 + b" one\0one",
    "empty": b"",
    "only-newlines": b"\n\n\n",
    "only-nul": b"\0",
    "long-line": b"x" * 300000 + b" one " + b"y" * 300000 + b" one\none" + b"z" * 900000 + b"\none",
    "word-over-buffer": b" " * 262140 + b"one_two_three one\n" + b" " * 262130 + b"three",
    "underscores": b"_one_ one_ _one __ _ one-two one.two one\tone\vone\fone\n",
    "digits": b"0x10 10 010 1e10 10.10\n",
    "sub/nested/deep": b"one deep\n",
    "name with spaces: and colons\n": b"one odd\n",
    "-dash": b"one dash\n",
}


def make_tree(root):
    for name, data in FILES.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    with open(os.path.join(root, "holes"), "wb") as file:
        file.write(b"one\n")
        file.seek(8 << 20)
        file.write(b"one\0one")
    os.mkfifo(os.path.join(root, "fifo"))
    os.symlink("plain", os.path.join(root, "link-to-file"))
    os.symlink("sub", os.path.join(root, "link-to-folder"))
    os.symlink("nowhere", os.path.join(root, "link-to-nothing"))
    os.link(os.path.join(root, "plain"), os.path.join(root, "hard-link"))


def grep(word, root):
    done = subprocess.run(["grep", "-rwch", "-e", word, root], env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    counts = [int(line) for line in done.stdout.split()]
    return sum(counts), sum(1 for count in counts if count)


def index(program, root):
    out = subprocess.run([program, root], stdout=subprocess.PIPE, check=True).stdout.decode("ascii")
    return {word: (int(lines), int(files)) for word, lines, files in (line.split(" ") for line in out.splitlines())}


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as root:
        make_tree(root)
        words = index(program, root)
        # grep's own list of words; those that are too long for its command line are compared by their count alone.
        listed = subprocess.run(["grep", "-rhoa", "-E", "[A-Za-z0-9_]+", root], env={"LC_ALL": "C",
                                "PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, check=True).stdout.decode("ascii")
        expected = set(listed.split("\n")) - {""}
        wrong = [f"in the index alone: {word[:60]}" for word in words.keys() - expected]
        wrong += [f"not in the index: {word[:60]}" for word in expected - words.keys()]
        compared = 0
        for word, got in words.items():
            if len(word) < 1000:
                compared += 1
                want = grep(word, root)
                if want != got:
                    wrong.append(f"{word[:60]}: lines and files are {got}, grep says {want}")
        linked = os.path.join(os.path.dirname(root), os.path.basename(root) + "-link")
        os.symlink(root, linked)
        try:
            if index(program, linked) != words:
                wrong.append("read through a link, the folder has other words")
        finally:
            os.unlink(linked)
    for line in wrong:
        print(line)
    print(f"{compared} of {len(words)} words compared with grep, {len(wrong)} wrong")
    return 0 if compared > 15 and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
