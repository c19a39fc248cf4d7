from shelfmark.cli import main

main()
