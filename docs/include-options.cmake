# cmake -DPROGRAM=svmd-options -DIN=page.8.in -DOUT=page.8 -P include-options.cmake
# Writes a man page with the options of svmd, as the program lists them, in the place of @OPTIONS_LINE@ or
# @OPTIONS_FILE@.
file(READ ${IN} page)
foreach(list line file)
  execute_process(COMMAND ${PROGRAM} ${list} OUTPUT_VARIABLE options OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
  string(TOUPPER "@OPTIONS_${list}@" place)
  string(REPLACE "${place}" "${options}" page "${page}")
endforeach()
file(WRITE ${OUT} "${page}")
