# What the Extensions Index asks of an extension's description.

foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS CATEGORY)
  if("${EXTENSION_${name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
endforeach()
foreach(name README_FILE LICENSE_FILE)
  if(NOT EXISTS "${EXTENSION_${name}}")
    message(FATAL_ERROR "EXTENSION_${name} names a file that is not there: ${EXTENSION_${name}}")
  endif()
endforeach()
