PS1='gateway# '
