# Pages and changelogs of packages are compressed, the same each time.
file(GLOB_RECURSE files ${CPACK_TEMPORARY_DIRECTORY}/*.[13578] ${CPACK_TEMPORARY_DIRECTORY}/changelog.Debian)
list(FILTER files INCLUDE REGEX "/share/(man|doc)/")
foreach(file ${files})
  execute_process(COMMAND gzip -9n ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
