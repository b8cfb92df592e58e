spaced = dict(old=1, where='{{ fileBasenameNoExtension }}', ext='{{fileExtname}}')
