#!/bin/sh
# install_test.sh BUILD SOURCE VERSION FLAGS: installs libsvmd into a prefix of its own, builds programs in C and C++
# against it outside of the tree, found by pkg-config and by CMake, and runs them. FLAGS is what the tree was built
# with (a sanitizer must be in the program too).
set -eu
build=$1 source=$2 version=$3 flags=$4
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
prefix=$dir/prefix

for component in libsvmd1 libsvmd-dev; do
        cmake --install "$build" --component $component --prefix "$prefix" >/dev/null
done
pc=$(find "$prefix" -name svmd.pc)
[ -n "$pc" ] || { echo "no svmd.pc was installed"; exit 1; }
lib=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH="$(dirname "$pc")" LD_LIBRARY_PATH="$lib"

for file in libsvmd.so libsvmd.so.1 "libsvmd.so.1.$version" libsvmd.a cmake/svmd/svmdConfig.cmake; do
        [ -e "$lib/$file" ] || { echo "$file was not installed"; exit 1; }
done
[ "$(pkg-config --modversion svmd)" = "$version" ] || { echo "svmd.pc has another version"; exit 1; }

cp "$source/install_program.c" "$dir/program.c"
cp "$source/install_program.c" "$dir/program.cc"
strict="-Wall -Wextra -Werror -pedantic $flags"
# Word splitting is wanted: these are lists of flags.
gcc -std=c11 $strict $(pkg-config --cflags svmd) -o "$dir/c" "$dir/program.c" $(pkg-config --libs svmd)
g++ -std=c++17 $strict $(pkg-config --cflags svmd) -o "$dir/cxx" "$dir/program.cc" $(pkg-config --libs svmd)
g++ -std=c++17 $strict $(pkg-config --cflags svmd) -o "$dir/static" "$dir/program.cc" "$lib/libsvmd.a" \
        $(pkg-config --libs libprotobuf-c) -pthread
"$dir/c" "$version"
"$dir/cxx" "$version"
env -u LD_LIBRARY_PATH "$dir/static" "$version"

mkdir "$dir/cmake"
cp "$dir/program.c" "$dir/program.cc" "$dir/cmake"
cat >"$dir/cmake/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.25)
project(program LANGUAGES C CXX)
set(CMAKE_CXX_STANDARD 17)
add_compile_options(-Wall -Wextra -Werror -pedantic $flags)
add_link_options($flags)
find_package(svmd ${version%.*} REQUIRED)
add_executable(c program.c)
target_link_libraries(c svmd::svmd)
add_executable(cxx program.cc)
target_link_libraries(cxx svmd::svmd)
EOF
cmake -S "$dir/cmake" -B "$dir/cmake/build" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$dir/cmake/build" >/dev/null
"$dir/cmake/build/c" "$version"
"$dir/cmake/build/cxx" "$version"
